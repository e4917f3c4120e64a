import { chunksOf } from '../../chunks';

/** The server's clock. UTC whatever the session's time zone; the moment at which the statement began. */
export const NOW = 'UTC_TIMESTAMP(6)';

/** A time as milliseconds since 1970: independent of the session's and the driver's time zone. */
export function epochMs(column: string): string {
  return `TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', ${column}) / 1000`;
}

/** So many milliseconds as an interval. */
export function interval(milliseconds: number): string {
  return `INTERVAL ${integer(milliseconds * 1_000)} MICROSECOND`;
}

/** A number as it stands in SQL. Numbers are not bound: the driver would quote a bigint, and then it compares as a double. */
export function integer(value: number | bigint): string {
  return typeof value === 'bigint' ? value.toString() : BigInt(Math.round(value)).toString();
}

export function integers(values: readonly (number | bigint)[]): string {
  return values.map(integer).join(', ');
}

/**
 * Digests as a table `k(hash)`. Each is then looked up by itself, in a scalar subquery with LIMIT 1, which no optimizer
 * turns into a scan: given a list or an EXISTS, MariaDB walks all rows of a status when its statistics say that these are few.
 */
export function hashTable(keyHashes: readonly bigint[]): string {
  const json = JSON.stringify(keyHashes.map(String));
  return `JSON_TABLE('${json}', '$[*]' COLUMNS (hash BIGINT PATH '$')) AS k`;
}

/** As many placeholders as there are values: arrays are not bound, as an empty one would be no SQL. */
export function marks(values: readonly unknown[]): string {
  return values.map(() => '?').join(', ');
}

/** From 1,000 values on MariaDB turns an IN list into a subquery, and an UPDATE with one scans the table. */
export const ROWS_MAX = 900;

export function inChunks<T>(values: readonly T[]): (readonly T[])[] {
  return chunksOf(values, ROWS_MAX);
}

/** A moment as the columns have it. */
export function utc(date: Date): string {
  return date.toISOString().slice(0, 23).replace('T', ' ');
}

/** What a claim returns; see ClaimedRow. */
export const CLAIMED_COLUMNS = `m.id, CAST(m.seq AS CHAR) AS seq, m.transport, m.destination, m.type, m.\`key\`,
  CAST(m.key_hash AS CHAR) AS key_hash, m.tenant, m.source, m.payload, m.content_type, m.content_encoding,
  m.schema_version, m.headers, m.attempts, m.claims, ${epochMs('m.created_at')} AS created_ms`;

/** What people look at; see RecordRow. */
export const RECORD_COLUMNS = `${CLAIMED_COLUMNS.replace(' m.payload,', '')}, m.status, m.claimed_by, m.last_error,
  ${epochMs('m.next_attempt_at')} AS next_attempt_ms, ${epochMs('m.expires_at')} AS expires_ms,
  ${epochMs('m.sent_at')} AS sent_ms, ${epochMs('m.consumed_at')} AS consumed_ms, ${epochMs('m.dead_at')} AS dead_ms`;

/** What the driver answers to a statement that changes rows. */
export interface Changed {
  readonly affectedRows: number;
}
