import { type QueryRunner } from 'typeorm';
import { type DirectConnection } from './direct/direct-connection';
import { mysqlClientOf } from './mysql/client';
import { takesBlocks } from './mysql/commit-block';
import { MariaDbConnection } from './mysql/mariadb-connection';
import { MysqlConnection } from './mysql/mysql-connection';
import { pgClientOf } from './postgres/client';
import { PostgresConnection } from './postgres/postgres-connection';

/** A driver's connection, which keeps what sends on it. */
type Connection = Record<symbol, DirectConnection | undefined>;

/** The connections on which statements can be sent past TypeORM. */
export class DirectConnections {
  /** On the driver's own object: a weak map would cost the garbage collector more than all else here. */
  private readonly known = Symbol('outbox sends');

  /** @param mayPrepare whether the server keeps prepared statements for whoever is connected */
  constructor(private readonly mayPrepare: () => boolean) {}

  /** Of a connected runner; null where it is of a driver that we do not know. */
  of(runner: QueryRunner): DirectConnection | null {
    const { databaseConnection } = runner as unknown as { databaseConnection?: Connection };
    if (databaseConnection === undefined) return null;
    return databaseConnection[this.known] ?? this.meet(runner, databaseConnection);
  }

  private meet(runner: QueryRunner, connection: Connection): DirectConnection | null {
    const pg = pgClientOf(runner);
    if (pg !== null) return (connection[this.known] = new PostgresConnection(pg, this.mayPrepare));
    const mysql = mysqlClientOf(runner);
    if (mysql !== null)
      return (connection[this.known] = takesBlocks(mysql)
        ? new MariaDbConnection(mysql, this.mayPrepare)
        : new MysqlConnection(mysql, this.mayPrepare));
    return null;
  }
}
