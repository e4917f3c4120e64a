import type { EventEmitter } from 'node:events';
import { DataSource, type DataSourceOptions, type QueryRunner } from 'typeorm';

import { RelayError } from '../core/errors';
import type { HotStatement, StatementRunner } from '../core/statement-runner';
import {
  type PgClient,
  PreparedStatementClients,
  type PreparedStatements,
  reachesServerItself,
} from './prepared-statements';
import { dialectOf } from './table-names';

/** The application's own pool settings do not fit a pool of two. */
const POOL_SETTINGS = [
  'max',
  'min',
  'poolSize',
  'connectionLimit',
  'maxIdle',
  'queueLimit',
  'waitForConnections',
];

const MYSQL_SETTINGS = ['SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED'];
/**
 * A statement with a name keeps the plan that was made for it while the table was empty, where a scan of it looks cheap,
 * until the table is analyzed; that may be a million rows later. Each of the relay's statements has its index. One with a
 * hundred ids would be planned anew each time, for no other plan, and that takes as long as to run it: the server guesses
 * ten, and prefers the hundred that it sees. Asked for by a SELECT, as a server that is too old does not know it, and is told so
 * in words of ours.
 */
const PLANNED_ONCE_SETTINGS = [
  'SET enable_seqscan = off',
  'SET jit = off',
  `SELECT set_config(name, 'force_generic_plan', false) FROM pg_settings WHERE name = 'plan_cache_mode'`,
];

/**
 * The store's own connections: a small TypeORM data source made from the application's options. So the relay neither waits
 * for the application's pool nor takes from it, and a pool of one cannot deadlock.
 *
 * Everything here runs READ COMMITTED. On MySQL that is set once on each connection: under REPEATABLE READ a claim locks
 * gaps and so blocks inserts. On PostgreSQL it is the default; where somebody changed that, each statement gets a
 * transaction that says so (a SET of the session would leak through a pooler to the application's own transactions).
 */
export class RelayDataSource {
  private opening: Promise<DataSource> | undefined;
  private closed = false;
  private transactionForEach = false;
  /** Connections that have the settings. */
  private readonly settled = new WeakSet<object>();
  private settings: readonly string[] = [];
  private named = false;
  /** null: not PostgreSQL, or not open. */
  private clients: PreparedStatementClients | null = null;

  constructor(
    private readonly application: DataSource,
    private readonly connections: number,
    private readonly preparedStatements: PreparedStatements = 'auto',
  ) {}

  /** Whether hot statements have names that the server keeps. Known once it is open: false until then. */
  get preparesStatements(): boolean {
    return this.named;
  }

  /** Runs one statement, in a transaction of its own. */
  query(sql: string, parameters?: unknown[]): Promise<unknown> {
    return this.withRunner((runner) => this.queryOn(runner, sql, parameters));
  }

  /** As `query`, and on PostgreSQL past TypeORM: no subscriber and no logger is to hear of it. */
  execute(statement: HotStatement): Promise<unknown> {
    return this.withRunner(async (runner) => {
      if (this.clients === null || this.transactionForEach) {
        return this.queryOn(runner, statement.sql, statement.parameters);
      }
      return this.clients.execute((await runner.connect()) as PgClient, statement);
    });
  }

  /** Runs several statements in one short transaction. */
  transaction<T>(work: (statements: StatementRunner) => Promise<T>): Promise<T> {
    return this.withRunner((runner) => inTransaction(runner, () => work(runner)));
  }

  /** Runs several statements on one connection, each by itself. */
  async withRunner<T>(work: (runner: QueryRunner) => Promise<T>): Promise<T> {
    const runner = await this.connect();
    try {
      return await work(runner);
    } finally {
      await runner.release();
    }
  }

  /** A connection for as long as the caller keeps it: the caller releases it. */
  async connect(): Promise<QueryRunner> {
    if (this.closed) throw new RelayError('The outbox store is closed.');
    const dataSource = await (this.opening ??= this.open());
    const runner = dataSource.createQueryRunner('master');
    try {
      const connection = (await runner.connect()) as object;
      if (!this.settled.has(connection)) {
        for (const setting of this.settings) await runner.query(setting);
        this.settled.add(connection);
      }
      return runner;
    } catch (error) {
      await runner.release();
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    const dataSource = await this.opening?.catch(() => undefined);
    if (dataSource?.isInitialized) await dataSource.destroy();
  }

  private async open(): Promise<DataSource> {
    try {
      const dataSource = await new DataSource(this.options()).initialize();
      if (dialectOf(dataSource.options.type) === 'postgres') {
        hearNewConnections(dataSource);
        await this.examine(dataSource);
      } else {
        this.settings = MYSQL_SETTINGS;
        // Whoever stands in front of these servers knows of prepared statements: they are a part of the protocol.
        this.named = this.preparedStatements !== false;
      }
      return dataSource;
    } catch (error) {
      this.opening = undefined;
      throw error;
    }
  }

  private queryOn(runner: QueryRunner, sql: string, parameters: unknown[] | undefined): Promise<unknown> {
    return this.transactionForEach
      ? inTransaction(runner, () => runner.query(sql, parameters))
      : runner.query(sql, parameters);
  }

  /** Finds out, once, what PostgreSQL is set to, and whether a pooler is in between. */
  private async examine(dataSource: DataSource): Promise<void> {
    const runner = dataSource.createQueryRunner('master');
    try {
      const client = (await runner.connect()) as PgClient;
      const [row] = (await runner.query('SHOW default_transaction_isolation')) as [
        { default_transaction_isolation: string },
      ];
      this.transactionForEach = row.default_transaction_isolation !== 'read committed';
      const direct = await reachesServerItself(client);
      this.named = this.preparedStatements === 'auto' ? direct : this.preparedStatements;
      if (this.named && direct) this.settings = PLANNED_ONCE_SETTINGS;
      this.clients = new PreparedStatementClients(this.named);
    } finally {
      await runner.release();
    }
  }

  private options(): DataSourceOptions {
    const { replication, extra, ...own } = this.application.options as {
      replication?: { master: object };
      extra?: Record<string, unknown>;
    };
    const kept = Object.entries(extra ?? {}).filter(([name]) => !POOL_SETTINGS.includes(name));
    return {
      ...own,
      ...replication?.master,
      name: 'nestjs-outbox',
      entities: [],
      subscribers: [],
      migrations: [],
      migrationsRun: false,
      synchronize: false,
      dropSchema: false,
      cache: false,
      isolationLevel: undefined,
      poolSize: this.connections,
      // Of TypeORM's logger: statements come with their parameters, and those are payloads.
      logging: false,
      logger: 'simple-console',
      maxQueryExecutionTime: undefined,
      extra: Object.fromEntries(kept),
    } as unknown as DataSourceOptions;
  }
}

/**
 * On its way from `pg`'s pool to TypeORM, a new connection has nobody who hears its errors. A server that ends it in the same
 * breath as it greets, as one does that shuts down, would end this process: an 'error' without a listener does that. Who
 * uses the connection is told by the next statement.
 */
function hearNewConnections({ driver }: DataSource): void {
  const { master } = driver as unknown as {
    master: { on(event: 'connect', listener: (client: EventEmitter) => void): unknown };
  };
  master.on('connect', (client) => client.on('error', () => undefined));
}

async function inTransaction<T>(runner: QueryRunner, work: () => Promise<T>): Promise<T> {
  const postgres = dialectOf(runner.connection.options.type) === 'postgres';
  await runner.startTransaction(postgres ? 'READ COMMITTED' : undefined);
  try {
    const result = await work();
    await runner.commitTransaction();
    return result;
  } catch (error) {
    // The connection may be gone: then there is nothing to roll back, and the first error is the one that tells.
    await runner.rollbackTransaction().catch(() => undefined);
    throw error;
  }
}
