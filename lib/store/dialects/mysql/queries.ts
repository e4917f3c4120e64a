import { holdingStatuses } from '../../../core/message-status';
import type { PurgeTerms } from '../../../core/outbox-store.port';
import type { KeyPlace } from '../../message-row';
import type { TableNames } from '../../table-names';
import { CLAIMED_COLUMNS, epochMs, hashTable, integer, integers, interval, NOW } from './columns';

/** Up to here sent messages are counted, from there on estimated. */
const SENT_EXACT_MAX = 10_000;
/** Index entries that one look of a sweeper reads. */
const SCANNED_MAX = 2_000;
/** Beyond every `seq`. */
const SEQ_MAX = '9223372036854775807';

/**
 * What the statements look at. Every index is led by the status, and is named in the query: the optimizer's figures are
 * wrong about a table that is empty one minute and full the next, and a wrong guess here locks what it scans.
 */
export class MysqlQueries {
  readonly sentExactMax = SENT_EXACT_MAX;
  private readonly table: string;
  private readonly holding: readonly string[];
  private readonly holdingBefore: readonly string[];

  constructor(names: TableNames, onDeadLetter: 'park' | 'skip') {
    this.table = names.message;
    this.holding = holdingStatuses(onDeadLetter);
    this.holdingBefore = this.holding.filter((status) => status !== 'blocked');
  }

  /** Due rows of one transport (?), oldest first, locked. */
  due(claimsMax: number, limit: number, withinMs: number): string {
    return `SELECT ${epochMs('m.next_attempt_at')} AS due_ms, ${CLAIMED_COLUMNS} FROM ${this.table} AS m FORCE INDEX (due)
       WHERE m.status = 'pending' AND m.transport = ? AND m.next_attempt_at <= ${NOW}
         AND m.next_attempt_at > ${NOW} - ${interval(withinMs)} AND m.claims < ${integer(claimsMax)} AND (m.expires_at IS NULL OR m.expires_at > ${NOW})
       ORDER BY m.next_attempt_at LIMIT ${integer(limit)} FOR UPDATE SKIP LOCKED`;
  }

  nextDue(transports: readonly string[], claimsMax: number, withinMs: number): string {
    const next = `(SELECT next_attempt_at FROM ${this.table} FORCE INDEX (due)
       WHERE status = 'pending' AND transport = ? AND next_attempt_at > ${NOW} - ${interval(withinMs)} AND claims < ${integer(claimsMax)}
         AND (expires_at IS NULL OR expires_at > ${NOW})
       ORDER BY next_attempt_at LIMIT 1)`;
    return `SELECT ${epochMs('MIN(d.next_attempt_at)')} - ${epochMs(NOW)} AS ms
       FROM (${transports.map(() => next).join(' UNION ALL ')}) AS d`;
  }

  /**
   * The first blocked row of each key, where no earlier row holds the key any more. All rows with a lower `seq` were
   * committed before it was inserted, so this one snapshot sees them; if one of them is about to be completed, whoever
   * completes it promotes after that.
   */
  promotable(keyHashes: readonly bigint[]): string {
    return `SELECT CAST(b.seq AS CHAR) AS seq FROM ${this.promotableHeads(keyHashes)}`;
  }

  /** As `promotable`, with the whole row, and whether it may be sent now. */
  promotableRows(keyHashes: readonly bigint[]): string {
    const mayBeSent = `m.available_at <= ${NOW} AND (m.expires_at IS NULL OR m.expires_at > ${NOW})`;
    return `SELECT STRAIGHT_JOIN ${CLAIMED_COLUMNS}, ${mayBeSent} AS take
       FROM (SELECT b.seq FROM ${this.promotableHeads(keyHashes)}) AS h
       JOIN ${this.table} AS m FORCE INDEX (seq) ON m.seq = h.seq`;
  }

  private promotableHeads(keyHashes: readonly bigint[]): string {
    const first = (status: string, hash: string, more = ''): string =>
      `(SELECT m.seq FROM ${this.table} AS m FORCE INDEX (key_order)
         WHERE m.status = '${status}' AND m.key_hash = ${hash} ${more} ORDER BY m.seq LIMIT 1)`;
    const unheld = this.holdingBefore.map(
      (status) => `${first(status, 'b.hash', 'AND m.seq < b.seq')} IS NULL`,
    );
    return `(SELECT k.hash, ${first('blocked', 'k.hash')} AS seq FROM ${hashTable(keyHashes)}) AS b
       WHERE b.seq IS NOT NULL AND ${unheld.join(' AND ')}`;
  }

  /** The blocked rows behind each of these, in order, up to the next one of their keys that is in another status. */
  ahead(heads: readonly KeyPlace[], count: number): string {
    const behind = ({ key_hash, seq }: KeyPlace, status: string): string =>
      `FROM ${this.table} AS m FORCE INDEX (key_order)
         WHERE m.status = '${status}' AND m.key_hash = ${integer(BigInt(key_hash ?? 0))} AND m.seq > ${integer(BigInt(seq))}`;
    const looks = heads.map((head) => {
      const before = this.holdingBefore.map(
        (status) => `AND m.seq < COALESCE((SELECT MIN(m.seq) ${behind(head, status)}), ${SEQ_MAX})`,
      );
      return `(SELECT CAST(m.key_hash AS CHAR) AS hash, CAST(m.seq AS CHAR) AS seq, LENGTH(m.payload) AS size,
          m.available_at <= ${NOW} AND m.expires_at IS NULL AS fits
         ${behind(head, 'blocked')} ${before.join(' ')} ORDER BY m.seq LIMIT ${integer(count)})`;
    });
    return looks.join(' UNION ALL ');
  }

  /** Those of the keys that an unsent message holds. */
  held(keyHashes: readonly bigint[]): string {
    const found = this.holding.map(
      (status) =>
        `(SELECT 1 FROM ${this.table} AS m FORCE INDEX (key_order)
           WHERE m.status = '${status}' AND m.key_hash = k.hash LIMIT 1) IS NOT NULL`,
    );
    return `SELECT CAST(k.hash AS CHAR) AS hash FROM ${hashTable(keyHashes)} WHERE ${found.join(' OR ')}`;
  }

  /** The earliest message that holds each of these keys. */
  firstHolding(keyHashes: readonly bigint[]): string {
    const found = this.holding.map(
      (status) =>
        `SELECT CAST(k.hash AS CHAR) AS hash, (SELECT m.seq FROM ${this.table} AS m FORCE INDEX (key_order)
           WHERE m.status = '${status}' AND m.key_hash = k.hash ORDER BY m.seq LIMIT 1) AS seq FROM ${hashTable(keyHashes)}`,
    );
    return `SELECT f.hash, CAST(MIN(f.seq) AS CHAR) AS seq FROM (${found.join(' UNION ALL ')}) AS f
       WHERE f.seq IS NOT NULL GROUP BY f.hash`;
  }

  /**
   * The keys among the next blocked rows, in the order of their digests. No server here hops from key to key by itself; so
   * a bounded part of the index is read, and whoever asks for what comes after the last key skips the rest of its rows.
   */
  blockedKeys(from: bigint, limit: number): string {
    return `SELECT DISTINCT CAST(r.key_hash AS CHAR) AS hash FROM (
         SELECT key_hash FROM ${this.table} FORCE INDEX (key_order)
         WHERE status = 'blocked' AND key_hash >= ${integer(from)} ORDER BY key_hash LIMIT ${SCANNED_MAX}
       ) AS r LIMIT ${integer(limit)}`;
  }

  /** The next transport, by name, that has pending rows. */
  pendingTransport(): string {
    return `SELECT transport FROM ${this.table} FORCE INDEX (due)
       WHERE status = 'pending' AND transport > ? ORDER BY transport LIMIT 1`;
  }

  /**
   * Among the oldest due rows of a transport (?), those that no claim takes any more. They do not stay hidden behind a
   * backlog: what is claimed leaves, and so they become the oldest.
   */
  unclaimable(claimsMax: number, limit: number): string {
    return `SELECT m.id FROM (
         SELECT id, claims, expires_at FROM ${this.table} FORCE INDEX (due)
         WHERE status = 'pending' AND transport = ? AND next_attempt_at <= ${NOW} ORDER BY next_attempt_at LIMIT ${SCANNED_MAX}
       ) AS m WHERE ${this.isUnclaimable(claimsMax)} LIMIT ${integer(limit)}`;
  }

  isUnclaimable(claimsMax: number): string {
    return `(m.claims >= ${integer(claimsMax)} OR m.expires_at <= ${NOW})`;
  }

  /** Blocked rows of these keys whose time is over, locked. */
  expiredBehind(keyHashes: readonly bigint[], limit: number): string {
    return `SELECT m.id FROM ${this.table} AS m FORCE INDEX (key_order)
       WHERE m.status = 'blocked' AND m.key_hash IN (${integers(keyHashes)}) AND m.expires_at <= ${NOW}
       LIMIT ${integer(limit)} FOR UPDATE SKIP LOCKED`;
  }

  /**
   * Rows in a final status (?) for longer than that, locked. The index has the alarms of dead letters in its middle: no
   * other row has one, which must be said for the order to come from the index; dead letters come in any order.
   */
  finished(status: PurgeTerms['status'], olderThanMs: number, limit: number): string {
    const [noAlarm, order] =
      status === 'dead_letter' ? ['', ''] : ['AND alarm_due_at IS NULL', 'ORDER BY finished_at'];
    return `SELECT id FROM ${this.table} FORCE INDEX (finished)
       WHERE status = ? ${noAlarm} AND finished_at < ${NOW} - ${interval(olderThanMs)}
       ${order} LIMIT ${integer(limit)} FOR UPDATE SKIP LOCKED`;
  }

  /** One snapshot, so that a row on its way from one status to another is counted once. @param parked see inspection.ts */
  stats(parked: string): string {
    const unsent = (status: string, index: string): string =>
      `SELECT COUNT(*) AS count, SUM(next_attempt_at <= ${NOW}) AS due,
         ${epochMs(`MIN(IF(available_at <= ${NOW}, available_at, NULL))`)} AS oldest_ms
       FROM ${this.table} FORCE INDEX (${index}) WHERE status = '${status}'`;
    return `SELECT p.count AS pending, p.due, b.count AS blocked, d.dead, s.sent, k.\`keys\` AS parked_keys, k.messages AS parked_messages,
         ${epochMs(NOW)} - LEAST(COALESCE(p.oldest_ms, b.oldest_ms), COALESCE(b.oldest_ms, p.oldest_ms)) AS oldest_ms
       FROM (${unsent('pending', 'due')}) AS p, (${unsent('blocked', 'key_order')}) AS b,
         (SELECT COUNT(*) AS dead FROM ${this.table} FORCE INDEX (finished) WHERE status = 'dead_letter') AS d,
         (SELECT COUNT(*) AS sent FROM (
           SELECT 1 FROM ${this.table} FORCE INDEX (finished) WHERE status = 'sent' LIMIT ${SENT_EXACT_MAX + 1}
         ) AS counted) AS s, (${parked}) AS k`;
  }
}
