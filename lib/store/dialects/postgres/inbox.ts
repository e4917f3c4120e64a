import type { InboxEntry } from '../../../core/inbox-store.port';
import { execute, type StatementRunner } from '../../../core/statement-runner';
import { type Hot, hotStatement } from '../../hot-statement';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import type { InboxDialect } from '../dialect.port';
import { type Changed, interval } from './columns';

/** Where the session's own limit is kept while ours holds. A transaction's end, or a savepoint's rollback, undoes both. */
const USUAL_WAIT = 'outbox.lock_timeout';

/** Gives the session back the limit that it had. */
const RESTORE_WAIT = `set_config('lock_timeout', current_setting('${USUAL_WAIT}'), true)`;

/** Sets the limit to a parameter. The inner call has to be over before the outer one has its arguments. */
const limitWait = (parameter: string): string =>
  `set_config('lock_timeout', CASE WHEN
     set_config('${USUAL_WAIT}', current_setting('lock_timeout'), true) IS NOT NULL THEN ${parameter} END, true)`;

/**
 * `ON CONFLICT DO NOTHING` waits for a concurrent insert of the same entry and answers by its outcome; under REPEATABLE
 * READ and above a row that was committed meanwhile is a serialization failure (40001), which callers try again.
 *
 * The limit of that wait is set and taken back inside the INSERT, so that it costs no round trip and the handler's own
 * statements do not run under it.
 */
export class PostgresInbox implements InboxDialect {
  private readonly addOne: Hot;
  private readonly addOneWithin: Hot;
  private readonly addMany: Hot;
  private readonly addManyWithin: Hot;
  private readonly restoreWait = hotStatement(`SELECT ${RESTORE_WAIT}`, []);

  constructor(private readonly names: TableNames) {
    const insert = `INSERT INTO ${names.inbox} (consumer, message_key, processed_at)`;
    const skip = 'ON CONFLICT DO NOTHING';
    // Of one entry it counts whether there is a row, not what is in it.
    this.addOne = hotStatement(`${insert} VALUES ($1, $2, clock_timestamp()) ${skip} RETURNING true`, []);
    // WHERE is looked at before the row is made, RETURNING when it is in: a row that was there already has none.
    this.addOneWithin = hotStatement(
      `${insert} SELECT $1, $2, clock_timestamp() WHERE ${limitWait('$3')} IS NOT NULL ${skip} RETURNING ${RESTORE_WAIT}`,
      [],
    );
    const entries = 'unnest($1::text[], $2::text[]) AS e(consumer, message_key)';
    const selected = 'SELECT e.consumer, e.message_key, clock_timestamp() FROM';
    const returning = `${skip} RETURNING consumer, message_key AS "messageKey"`;
    this.addMany = hotStatement(`${insert} ${selected} ${entries} ${returning}`);
    // The insert joins `wait` and so comes after it, and the aggregate has read all of the insert's rows before the last
    // line runs.
    this.addManyWithin = hotStatement(
      `WITH wait AS MATERIALIZED (
         SELECT ${limitWait('$3')} AS limited
       ), added AS (
         ${insert} ${selected} wait, ${entries} WHERE wait.limited IS NOT NULL ${returning}
       ), answer AS (
         SELECT array_agg(consumer) AS consumers, array_agg("messageKey") AS keys FROM added
       )
       SELECT answer.consumers, answer.keys, ${RESTORE_WAIT} FROM answer`,
    );
  }

  async add(
    statements: StatementRunner,
    entries: readonly InboxEntry[],
    waitMs: number | null,
  ): Promise<readonly InboxEntry[]> {
    const [entry] = entries;
    if (entries.length === 1 && entry !== undefined) {
      return (await this.isNew(statements, entry, waitMs)) ? entries : [];
    }
    const lists = [entries.map(({ consumer }) => consumer), entries.map(({ messageKey }) => messageKey)];
    if (waitMs === null) {
      return (await execute(statements, this.addMany(lists))) as InboxEntry[];
    }
    const parameters = [...lists, duration(waitMs)];
    const rows = (await execute(statements, this.addManyWithin(parameters))) as {
      consumers: string[] | null;
      keys: string[] | null;
    }[];
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

  /** A plain INSERT: what a batch needs costs as much again. */
  private async isNew(
    statements: StatementRunner,
    { consumer, messageKey }: InboxEntry,
    waitMs: number | null,
  ): Promise<boolean> {
    const statement =
      waitMs === null
        ? this.addOne([consumer, messageKey])
        : this.addOneWithin([consumer, messageKey, duration(waitMs)]);
    const rows = (await execute(statements, statement)) as unknown[];
    if (rows.length > 0) return true;
    // Without a row the limit still holds. Duplicates are rare, so these may cost the round trip.
    if (waitMs !== null) await execute(statements, this.restoreWait([]));
    return false;
  }
}

/** As the server reads it. It knows no limit of zero: that is none. */
function duration(waitMs: number): string {
  return `${Math.max(1, Math.ceil(waitMs))}ms`;
}
