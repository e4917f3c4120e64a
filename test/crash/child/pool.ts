import type { DataSource } from 'typeorm';

interface PostgresPool {
  totalCount: number;
  idleCount: number;
}

interface MysqlPool {
  _allConnections: { length: number };
  _freeConnections: { length: number };
}

/** Connections of TypeORM's pool that somebody holds at this moment. */
export function connectionsInUse({ driver }: DataSource): number {
  const { master, pool } = driver as unknown as { master?: PostgresPool; pool?: MysqlPool };
  if (master !== undefined) return master.totalCount - master.idleCount;
  return pool === undefined ? 0 : pool._allConnections.length - pool._freeConnections.length;
}
