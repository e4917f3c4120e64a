import { type DataSource, type EntityManager, type Logger, type QueryRunner } from 'typeorm';

/** What TypeORM keeps on a query runner and does not publish. The same names in 0.3.20 and 1.x. */
interface RunnerInternals {
  isTransactionActive: boolean;
  /** 0: none; 1: in a transaction; more: so many savepoints less one. */
  transactionDepth: number;
  /** PostgreSQL only: gives the connection back to the pool as one that must not be used again. */
  releasePostgresConnection?(error: Error): Promise<void>;
  /** MySQL: mysql2's connection. */
  databaseConnection?: { destroy?(): void };
  readonly broadcaster: Broadcaster;
}

/** What collects the promises of subscribers. */
interface BroadcasterResult {
  count: number;
  promises: Promise<unknown>[];
}

interface Broadcaster extends Record<
  `broadcast${TransactionEvent}Event`,
  (result: BroadcasterResult) => void
> {
  broadcastBeforeQueryEvent(
    result: BroadcasterResult,
    query: string,
    parameters: unknown[] | undefined,
  ): void;
  broadcastAfterQueryEvent(
    result: BroadcasterResult,
    query: string,
    parameters: unknown[] | undefined,
    success: boolean,
    durationMs: number | undefined,
    answer: unknown,
    error: unknown,
  ): void;
}

function internals(runner: QueryRunner): RunnerInternals {
  return runner as unknown as RunnerInternals;
}

export function depthOf(runner: QueryRunner): number {
  return internals(runner).transactionDepth;
}

/**
 * Puts TypeORM's own bookkeeping right where it has lost count: it counts a savepoint whose rollback failed as open, and
 * takes the whole transaction for closed when a hook refuses a savepoint.
 */
export function restoreDepth(runner: QueryRunner, depth: number): void {
  internals(runner).transactionDepth = depth;
  internals(runner).isTransactionActive = depth > 0;
}

/** Before the server has begun it, TypeORM takes a transaction for active already. */
export function markActive(runner: QueryRunner, active: boolean): void {
  internals(runner).isTransactionActive = active;
}

/** TypeORM 1.x says `dataSource`, 0.3 says `connection`. */
export function dataSourceOf(owner: QueryRunner | EntityManager): DataSource {
  const { dataSource, connection } = owner as unknown as { dataSource?: DataSource; connection: DataSource };
  return dataSource ?? connection;
}

/** MySQL: how long the driver waits for an answer, where the data source sets a limit. Milliseconds. */
export function timeLimitOf(runner: QueryRunner): number | undefined {
  const { enableQueryTimeout, maxQueryExecutionTime } = dataSourceOf(runner).options as {
    enableQueryTimeout?: boolean;
    maxQueryExecutionTime?: number;
  };
  return enableQueryTimeout && maxQueryExecutionTime ? maxQueryExecutionTime : undefined;
}

export function isMysql(dataSource: DataSource): boolean {
  return dataSource.options.type === 'mysql' || dataSource.options.type === 'mariadb';
}

/** The runner that a handle is, or that it has; undefined when it is bound to none. */
export function runnerOf(handle: unknown): QueryRunner | undefined {
  if (isRunner(handle)) return handle;
  const own: unknown = (handle as { queryRunner?: unknown } | null | undefined)?.queryRunner;
  return isRunner(own) ? own : undefined;
}

function isRunner(value: unknown): value is QueryRunner {
  return (
    typeof value === 'object' &&
    value !== null &&
    'isTransactionActive' in value &&
    'startTransaction' in value
  );
}

/** Closes a connection whose state is not known, so that the pool cannot lend it again. */
export async function destroyConnection(runner: QueryRunner, error: Error): Promise<void> {
  const hidden = internals(runner);
  if (hidden.releasePostgresConnection) await hidden.releasePostgresConnection(error);
  else hidden.databaseConnection?.destroy?.();
}

export function loggerOf(runner: QueryRunner): Logger {
  return dataSourceOf(runner).logger;
}

/** Where a transaction is that is begun or ended past TypeORM. */
export type TransactionEvent =
  'BeforeTransactionStart' | 'AfterTransactionStart' | 'BeforeTransactionCommit' | 'AfterTransactionCommit';

/** Tells subscribers where a transaction is. @returns what they take time for; null: nothing */
export function broadcast(runner: QueryRunner, event: TransactionEvent): Promise<unknown> | null {
  const result: BroadcasterResult = { count: 0, promises: [] };
  internals(runner).broadcaster[`broadcast${event}Event`](result);
  return timeOf(result);
}

/** Tells subscribers of a statement that is sent past TypeORM. They may refuse it. @returns as `broadcast()` */
export function announce(
  runner: QueryRunner,
  sql: string,
  parameters: unknown[] | undefined,
): Promise<unknown> | null {
  const result: BroadcasterResult = { count: 0, promises: [] };
  internals(runner).broadcaster.broadcastBeforeQueryEvent(result, sql, parameters);
  return timeOf(result);
}

/**
 * Tells subscribers what became of it, and the logger, where it took longer than the data source allows.
 * @returns as `broadcast()`
 */
export function heard(
  runner: QueryRunner,
  { sql, parameters }: { readonly sql: string; readonly parameters?: unknown[] },
  outcome: {
    readonly success: boolean;
    readonly durationMs?: number;
    readonly answer?: unknown;
    readonly error?: unknown;
  },
): Promise<unknown> | null {
  const { success, durationMs, answer, error } = outcome;
  const result: BroadcasterResult = { count: 0, promises: [] };
  internals(runner).broadcaster.broadcastAfterQueryEvent(
    result,
    sql,
    parameters,
    success,
    durationMs,
    answer,
    error,
  );
  const { maxQueryExecutionTime } = dataSourceOf(runner).options;
  if (maxQueryExecutionTime && durationMs !== undefined && durationMs > maxQueryExecutionTime)
    loggerOf(runner).logQuerySlow(durationMs, sql, parameters, runner);
  return timeOf(result);
}

function timeOf({ promises }: BroadcasterResult): Promise<unknown> | null {
  return promises.length > 0 ? Promise.all(promises) : null;
}
