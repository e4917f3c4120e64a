import { startMariaDb } from '../../test/support/mariadb-server';
import { startPostgres } from '../../test/support/postgres-server';
import { startRabbitMq } from '../../test/support/rabbitmq-server';
import { type Broker, openBroker } from './broker';
import type { DatabaseType } from './options';
import { type Workspace, openWorkspace } from './workspace';

/** The private servers of a run. */
export interface Servers {
  readonly database: DatabaseServer;
  readonly broker: Broker;
  stop(): Promise<void>;
}

export interface DatabaseServer {
  readonly type: DatabaseType;
  /** Name and version, as it says itself. */
  readonly version: string;
  readonly pid: number;
  /** A database of its own, with all tables. */
  open(): Promise<Workspace>;
}

/** As in production, a commit is on disk when it is answered. Memory is what a small server would be given. */
const POSTGRES_SETTINGS = {
  shared_buffers: '256MB',
  max_wal_size: '4GB',
  synchronous_commit: 'on',
  shared_preload_libraries: 'pg_stat_statements',
  // Rows that read the statistics switch them on for their own database.
  'pg_stat_statements.track': 'none',
};
const MARIADB_SETTINGS = {
  'innodb-buffer-pool-size': '256M',
  'innodb-log-file-size': '512M',
  performance_schema: 'ON',
};

export async function startServers(type: DatabaseType): Promise<Servers> {
  const stops: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const one of stops.reverse()) await one();
  };
  try {
    const server =
      type === 'postgres'
        ? await startPostgres({ durable: true, settings: POSTGRES_SETTINGS })
        : await startMariaDb({ durable: true, settings: MARIADB_SETTINGS });
    stops.push(() => server.stop());
    const rabbitMq = await startRabbitMq({ fastStart: false });
    stops.push(() => rabbitMq.stop());
    const broker = await openBroker(rabbitMq.url, rabbitMq.pid);
    stops.push(() => broker.close());
    const [row] = await server.execute('SELECT version() AS version');
    let opened = 0;
    const database: DatabaseServer = {
      type,
      version: String(row!.version),
      pid: server.pid,
      open: async () => {
        const name = `bench_${(opened += 1)}`;
        const url = await server.createDatabase(name);
        return openWorkspace(type, url, () => server.dropDatabase(name));
      },
    };
    return { database, broker, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
