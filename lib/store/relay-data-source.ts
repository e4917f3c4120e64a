import { DataSource, type DataSourceOptions, type QueryRunner } from 'typeorm';

import { RelayError } from '../core/errors';
import type { StatementRunner } from '../core/statement-runner';
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
  private readonly prepared = new WeakSet<object>();

  constructor(
    private readonly application: DataSource,
    private readonly connections: number,
  ) {}

  /** Runs one statement, in a transaction of its own. */
  query(sql: string, parameters?: unknown[]): Promise<unknown> {
    return this.withRunner((runner) =>
      this.transactionForEach
        ? inTransaction(runner, () => runner.query(sql, parameters))
        : runner.query(sql, parameters),
    );
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
      if (!this.prepared.has(connection)) {
        if (dialectOf(dataSource.options.type) === 'mysql') {
          await runner.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
        }
        this.prepared.add(connection);
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
        const rows = await dataSource.query<{ default_transaction_isolation: string }[]>(
          'SHOW default_transaction_isolation',
        );
        this.transactionForEach = rows[0]?.default_transaction_isolation !== 'read committed';
      }
      return dataSource;
    } catch (error) {
      this.opening = undefined;
      throw error;
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
