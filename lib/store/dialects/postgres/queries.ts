import { holdingStatuses } from '../../../core/message-status';
import type { TableNames } from '../../table-names';
import { CLAIMED_COLUMNS, CLAIMED_NAMES, epochMs, firstOfKey, interval } from './columns';

/** Up to here sent messages are counted, from there on estimated. */
const SENT_EXACT_MAX = 10_000;
/** Beyond every `seq`. */
const SEQ_MAX = '9223372036854775807';

/**
 * What the statements look at, each by an index that holds nothing else. Rows to be changed are found by their `ctid`
 * inside the changing statement itself, locked and skipping locked ones: a fixed plan, whatever the planner's statistics
 * say of a table that is empty one minute and full the next. A row that changed since the statement began has another
 * ctid, is not found, and is left for the next time.
 *
 * Conditions use `statement_timestamp()`: an index condition cannot call a volatile function.
 */
export class PostgresQueries {
  readonly sentExactMax = SENT_EXACT_MAX;
  private readonly table: string;
  private readonly holdingBefore: readonly string[];

  constructor(names: TableNames, onDeadLetter: 'park' | 'skip') {
    this.table = names.message;
    this.holdingBefore = holdingStatuses(onDeadLetter).filter((status) => status !== 'blocked');
  }

  /** Due rows of these transports, oldest first. One walk of the index for each transport: `IN` would sort all that is due. */
  due(transports: string, claimsMax: string, limit: string, withinMs: string): string {
    return `SELECT d.place FROM unnest(${transports}) AS t(name)
       CROSS JOIN LATERAL (
         SELECT ctid AS place, next_attempt_at FROM ${this.table}
         WHERE status = 'pending' AND transport = t.name AND next_attempt_at <= statement_timestamp()
           AND next_attempt_at > statement_timestamp() - ${interval(withinMs)} AND claims < ${claimsMax} AND (expires_at IS NULL OR expires_at > statement_timestamp())
         ORDER BY next_attempt_at LIMIT ${limit} FOR UPDATE SKIP LOCKED
       ) AS d
       ORDER BY d.next_attempt_at LIMIT ${limit}`;
  }

  nextDue(transports: string, claimsMax: string, withinMs: string): string {
    return `SELECT greatest(0, ${epochMs('min(d.next_attempt_at)')} - ${epochMs('clock_timestamp()')}) AS ms
       FROM unnest(${transports}) AS t(name)
       CROSS JOIN LATERAL (
         SELECT next_attempt_at FROM ${this.table}
         WHERE status = 'pending' AND transport = t.name
           AND next_attempt_at > statement_timestamp() - ${interval(withinMs)} AND claims < ${claimsMax} AND (expires_at IS NULL OR expires_at > statement_timestamp())
         ORDER BY next_attempt_at LIMIT 1
       ) AS d
       HAVING count(*) > 0`;
  }

  /**
   * The first blocked row of each key, where no earlier row holds the key any more. All rows with a lower `seq` were
   * committed before it was inserted, so this one snapshot sees them; if one of them is about to be completed, whoever
   * completes it promotes after that.
   * @param except a query for the ids of rows that do not count
   */
  promotable(keyHashes: string, token: string, except?: string): string {
    const besides = except === undefined ? '' : `AND e.id NOT IN (${except})`;
    const unheld = this.holdingBefore.map(
      (status) => `${firstOfKey(this.table, '1', status, 'k.hash', `AND e.seq < b.seq ${besides}`)} IS NULL`,
    );
    return `SELECT b.place, ${token}::text IS NOT NULL AND b.available_at <= statement_timestamp()
           AND (b.expires_at IS NULL OR b.expires_at > statement_timestamp()) AS take
         FROM unnest(${keyHashes}) AS k(hash)
         CROSS JOIN LATERAL ${firstOfKey(this.table, 'e.ctid AS place, e.seq, e.available_at, e.expires_at', 'blocked', 'k.hash', besides)} AS b
         WHERE ${unheld.join(' AND ')}`;
  }

  /**
   * What follows rows `p` in their keys, as the statement saw it when it began: up to the first one that must not
   * be sent right behind the one before it. There is no gap in it: that one snapshot sees all rows with a lower `seq`, too.
   * @param except a query for the ids of rows that do not count
   */
  ahead(count: string, bytes: string, except: string): string {
    const others = this.holdingBefore.map((status) =>
      firstOfKey(this.table, 'e.seq', status, 'p.key_hash::bigint', 'AND e.seq > p.seq::bigint'),
    );
    return `SELECT true AS take, ${CLAIMED_NAMES} FROM (
         SELECT e.*, bool_and(e.fits) OVER up_to_it AS all_fit, sum(e.size) OVER up_to_it AS all_sizes FROM (
           SELECT ${CLAIMED_COLUMNS}, m.seq AS place, octet_length(m.payload) AS size,
             m.available_at <= statement_timestamp() AND m.expires_at IS NULL AS fits
           FROM ${this.table} AS m
           WHERE m.status = 'blocked' AND m.key_hash = p.key_hash::bigint AND m.seq > p.seq::bigint
             AND m.seq < coalesce(least(${others.join(', ')}), ${SEQ_MAX}) AND m.id NOT IN (${except})
           ORDER BY m.seq LIMIT ${count}
         ) AS e WINDOW up_to_it AS (ORDER BY e.place)
       ) AS f WHERE f.all_fit AND f.all_sizes <= ${bytes}`;
  }

  /** Hops from key to key, so that a key with a million blocked rows costs one look. */
  blockedKeys(from: string, limit: string): string {
    const next = (condition: string): string =>
      `(SELECT key_hash FROM ${this.table} WHERE status = 'blocked' AND key_hash ${condition} ORDER BY key_hash LIMIT 1)`;
    return `WITH RECURSIVE keys AS (
         SELECT ${next(`>= ${from}`)} AS hash, 1 AS n
         UNION ALL
         SELECT ${next('> k.hash')}, k.n + 1 FROM keys AS k WHERE k.hash IS NOT NULL AND k.n < ${limit}
       )
       SELECT hash::text AS hash FROM keys WHERE hash IS NOT NULL`;
  }

  /** Rows whose lease is over, and that were taken so often. */
  takenInVain(claimsMax: number, limit: string): string {
    // Says again what the partial index says, as the planner must see it; with 1 as the limit the index cannot help.
    const indexed = claimsMax > 1 ? 'AND claims > 1' : '';
    return this.free(`claims >= ${Math.trunc(claimsMax)} ${indexed}`, limit);
  }

  /** Rows whose lease is over, and their own time as well. */
  expired(limit: string): string {
    return this.free('expires_at <= statement_timestamp()', limit);
  }

  /** Blocked rows of these keys whose time is over. */
  expiredBehind(keyHashes: string, limit: string): string {
    return `SELECT ctid FROM ${this.table}
       WHERE status = 'blocked' AND key_hash = ANY (${keyHashes}) AND expires_at <= statement_timestamp()
       LIMIT ${limit} FOR UPDATE SKIP LOCKED`;
  }

  private free(condition: string, limit: string): string {
    return `SELECT ctid FROM ${this.table}
       WHERE status = 'pending' AND next_attempt_at <= statement_timestamp() AND ${condition}
       LIMIT ${limit} FOR UPDATE SKIP LOCKED`;
  }

  finished(status: string, olderThanMs: string, limit: string): string {
    return `SELECT ctid FROM ${this.table}
       WHERE status = ${status} AND status IN ('sent', 'consumed', 'dead_letter', 'cancelled')
         AND finished_at < statement_timestamp() - ${interval(olderThanMs)}
       ORDER BY finished_at LIMIT ${limit} FOR UPDATE SKIP LOCKED`;
  }

  /** One snapshot, so that a row on its way from one status to another is counted once. @param parked see inspection.ts */
  stats(parked: string): string {
    return `SELECT p.pending, p.due, b.blocked, s.sent, d.dead, k.keys AS parked_keys, k.messages AS parked_messages,
         ${epochMs('clock_timestamp()')} - least(p.oldest_ms, b.oldest_ms) AS oldest_ms
       FROM (
         SELECT count(*) AS pending, count(*) FILTER (WHERE next_attempt_at <= statement_timestamp()) AS due,
           ${epochMs('min(available_at) FILTER (WHERE available_at <= clock_timestamp())')} AS oldest_ms
         FROM ${this.table} WHERE status = 'pending'
       ) AS p, (
         SELECT count(*) AS blocked,
           ${epochMs('min(available_at) FILTER (WHERE available_at <= clock_timestamp())')} AS oldest_ms
         FROM ${this.table} WHERE status = 'blocked' AND key_hash IS NOT NULL
       ) AS b, (
         SELECT count(*) AS dead FROM ${this.table} WHERE status = 'dead_letter'
       ) AS d, (
         SELECT count(*) AS sent FROM (SELECT FROM ${this.table} WHERE status = 'sent' LIMIT ${SENT_EXACT_MAX + 1}) AS counted
       ) AS s, (${parked}) AS k`;
  }
}
