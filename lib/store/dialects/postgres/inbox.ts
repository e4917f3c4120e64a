import type { InboxEntry } from '../../../core/inbox-store.port';
import type { StatementRunner } from '../../../core/statement-runner';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import type { InboxDialect } from '../dialect.port';
import { type Changed, interval } from './columns';

/**
 * `ON CONFLICT DO NOTHING` waits for a concurrent insert of the same entry and answers by its outcome; under REPEATABLE
 * READ and above a row that was committed meanwhile is a serialization failure (40001), which callers try again.
 */
export class PostgresInbox implements InboxDialect {
  constructor(private readonly names: TableNames) {}

  async add(
    statements: StatementRunner,
    entries: readonly InboxEntry[],
    waitMs: number | null,
  ): Promise<readonly InboxEntry[]> {
    const lists = [entries.map(({ consumer }) => consumer), entries.map(({ messageKey }) => messageKey)];
    const insert = `INSERT INTO ${this.names.inbox} (consumer, message_key, processed_at)
       SELECT e.consumer, e.message_key, clock_timestamp()`;
    const returning = 'ON CONFLICT DO NOTHING RETURNING consumer, message_key AS "messageKey"';
    if (waitMs === null) {
      const sql = `${insert} FROM unnest($1::text[], $2::text[]) AS e(consumer, message_key) ${returning}`;
      return (await statements.query(sql, lists)) as InboxEntry[];
    }
    // The limit is set and taken back inside the one statement, so that it costs no round trip and the handler's own
    // statements do not run under it: `usual` reads it before it is set (a target list runs from left to right), the insert
    // joins `wait` and so comes after it, and the aggregate has read all of the insert's rows before the last line runs.
    const rows = (await statements.query(
      `WITH wait AS MATERIALIZED (
         SELECT current_setting('lock_timeout') AS usual, set_config('lock_timeout', $3, true) AS limited
       ), added AS (
         ${insert} FROM wait, unnest($1::text[], $2::text[]) AS e(consumer, message_key)
         WHERE wait.limited IS NOT NULL ${returning}
       ), answer AS (
         SELECT array_agg(consumer) AS consumers, array_agg("messageKey") AS keys FROM added
       )
       SELECT answer.consumers, answer.keys, set_config('lock_timeout', (SELECT usual FROM wait), true) FROM answer`,
      [...lists, `${Math.max(1, Math.ceil(waitMs))}ms`],
    )) as { consumers: string[] | null; keys: string[] | null }[];
    const { consumers, keys } = rows[0] ?? { consumers: null, keys: null };
    return (consumers ?? []).map((consumer, index) => ({ consumer, messageKey: keys?.[index] ?? '' }));
  }

  async purge(database: RelayDataSource, olderThanMs: number, limit: number): Promise<number> {
    const [, count] = (await database.query(
      `DELETE FROM ${this.names.inbox} WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM ${this.names.inbox} WHERE processed_at < statement_timestamp() - ${interval('$1')}
         ORDER BY processed_at LIMIT $2 FOR UPDATE SKIP LOCKED
       ))`,
      [olderThanMs, limit],
    )) as Changed;
    return count;
  }
}
