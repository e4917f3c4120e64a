import type { Workspace } from '../harness/workspace';

/** What the server says of the statements of one database since the last reset. */
export interface StatementStatistics {
  reset(): Promise<void>;
  /** How many there were; those of transactions and sessions (BEGIN, SET, …) count. */
  count(): Promise<number>;
  /** Of the statements that claim: how many, and how long one takes. Milliseconds. */
  claims(): Promise<{ readonly count: number; readonly meanMs: number }>;
}

/** A claim is the one statement that takes a lease and counts it, of many rows at once. */
const POSTGRES_CLAIM = `query LIKE '%claims = m.claims +%SKIP LOCKED%'`;

/** Call it before anybody connects: PostgreSQL gives sessions that are open already no new settings. */
export async function statementStatistics(workspace: Workspace): Promise<StatementStatistics> {
  return workspace.type === 'postgres' ? ofPostgres(workspace) : ofMariaDb(workspace);
}

async function ofPostgres(workspace: Workspace): Promise<StatementStatistics> {
  const database = new URL(workspace.url).pathname.slice(1);
  await workspace.query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements');
  await workspace.query(`ALTER DATABASE "${database}" SET pg_stat_statements.track = 'top'`);
  const from = `FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())`;
  return {
    reset: async () => void (await workspace.query('SELECT pg_stat_statements_reset()')),
    count: async () => {
      const [row] = await workspace.query<{ calls: string }>(
        `SELECT coalesce(sum(calls), 0) AS calls ${from}`,
      );
      return Number(row!.calls);
    },
    claims: async () => {
      const [row] = await workspace.query<{ calls: string; total: number }>(
        `SELECT coalesce(sum(calls), 0) AS calls, coalesce(sum(total_exec_time), 0) AS total ${from} AND ${POSTGRES_CLAIM}`,
      );
      return meanOf(Number(row!.calls), row!.total);
    },
  };
}

async function ofMariaDb(workspace: Workspace): Promise<StatementStatistics> {
  const database = new URL(workspace.url).pathname.slice(1);
  const from = `FROM performance_schema.events_statements_summary_by_digest WHERE schema_name = '${database}'`;
  // The connection that asks is in that database, too, and the look for claims is none.
  const foreign = `digest_text NOT LIKE '%performance_schema%'`;
  const set = 'UPDATE performance_schema.setup_consumers';
  await workspace.query(
    `${set} SET enabled = 'YES' WHERE name LIKE 'events_statements%' OR name = 'statements_digest'`,
  );
  await workspace.query(
    `UPDATE performance_schema.setup_instruments SET enabled = 'YES', timed = 'YES' WHERE name LIKE 'statement/%'`,
  );
  return {
    reset: async () =>
      void (await workspace.query('TRUNCATE TABLE performance_schema.events_statements_summary_by_digest')),
    count: async () => {
      const [row] = await workspace.query<{ calls: string | null }>(
        `SELECT sum(count_star) AS calls ${from} AND ${foreign}`,
      );
      return Number(row!.calls ?? 0);
    },
    claims: async () => {
      const [row] = await workspace.query<{ calls: string | null; total: string | null }>(
        `SELECT sum(count_star) AS calls, sum(sum_timer_wait) / 1e9 AS total ${from} AND ${foreign}
           AND digest_text LIKE '%SKIP LOCKED%'`,
      );
      return meanOf(Number(row!.calls ?? 0), Number(row!.total ?? 0));
    },
  };
}

function meanOf(count: number, totalMs: number): { count: number; meanMs: number } {
  return { count, meanMs: count === 0 ? 0 : totalMs / count };
}
