import type { TestDatabaseType } from './shared-servers';

/** Runs a statement on a connection to the database in question. */
type Query = (sql: string) => Promise<unknown>;

/** How many sessions of this database wait for a lock. */
export function lockWaits(type: TestDatabaseType, query: Query): Promise<number> {
  return type === 'postgres' ? lockWaitsOnPostgres(query) : lockWaitsOnMysql(query);
}

async function lockWaitsOnPostgres(query: Query): Promise<number> {
  const rows = (await query(
    `SELECT count(DISTINCT l.pid) AS count FROM pg_locks l
     JOIN pg_stat_activity a ON a.pid = l.pid AND a.datname = current_database()
     WHERE NOT l.granted`,
  )) as { count: string }[];
  return Number(rows[0]?.count);
}

/**
 * A statement that runs for longer than any that waits for nobody. The engine's own lists do not serve: innodb_trx is a copy
 * that is not renewed while several specs poll it, and SHOW ENGINE INNODB STATUS leaves transactions out when it is long.
 */
async function lockWaitsOnMysql(query: Query): Promise<number> {
  const rows = (await query(
    `SELECT count(*) AS count FROM information_schema.processlist
     WHERE db = DATABASE() AND id <> CONNECTION_ID() AND command IN ('Query', 'Execute') AND info NOT LIKE 'COMMIT%' AND time_ms > 50`,
  )) as { count: string }[];
  return Number(rows[0]?.count);
}
