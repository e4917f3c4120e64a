/** A time as milliseconds since 1970, whatever the application made of the driver's parsers. */
export function epochMs(column: string): string {
  return `(extract(epoch FROM ${column}) * 1000)::float8`;
}

/** Milliseconds as an interval, of a parameter or a column. */
export function interval(milliseconds: string): string {
  return `${milliseconds}::float8 * interval '1 millisecond'`;
}

/**
 * One of these statuses, where rows are named by their ids. Spelt so that the planner does not take it for the condition of a partial
 * index: with the figures of an emptier day it would walk all pending rows rather than look each one up.
 */
export function statusIs(...statuses: ('pending' | 'blocked')[]): string {
  return `m.status || '' IN (${statuses.map((status) => `'${status}'`).join(', ')})`;
}

/**
 * One status, for looks at a key. Spelt so that of the partial indexes only that of keys can answer: the planner must not
 * see which status it is, and has to see that the index has it. With the figures of a day on which all was sent it
 * would walk all that is due, or all dead letters, and look for the key among them.
 */
export function keyStatusIs(alias: string, status: string): string {
  return `${alias}.status = (SELECT '${status}') AND ${indexedByKey(alias)}`;
}

/** The condition of the index of keys. */
function indexedByKey(alias: string): string {
  return `${alias}.status IN ('blocked', 'pending', 'dead_letter')`;
}

/**
 * The first row of a key in one status, or none. Ordered and limited, so that there is one cheap way to it, which is the
 * index: an EXISTS may be answered by a scan of the table that hopes for an early hit, and a new key has none.
 */
export function firstOfKey(table: string, columns: string, status: string, hash: string, more = ''): string {
  return `(SELECT ${columns} FROM ${table} AS e WHERE ${keyStatusIs('e', status)} AND e.key_hash = ${hash} ${more} ORDER BY e.seq LIMIT 1)`;
}

/**
 * Whether a key has a row in any of these statuses: one descent of the index for each, until there is one, in one look.
 * Spelt for the same reason as `keyStatusIs`. Only where the planner is told not to scan the table: without an order it hopes
 * for an early hit, and a new key has none. Elsewhere, `firstOfKey`.
 */
export function hasRowOfKey(table: string, statuses: readonly string[], hash: string): string {
  const list = statuses.map((status) => `'${status}'`).join(', ');
  return `(SELECT 1 FROM ${table} AS e WHERE e.status = ANY ((SELECT ARRAY[${list}]::text[])::text[])
    AND ${indexedByKey('e')} AND e.key_hash = ${hash} LIMIT 1) IS NOT NULL`;
}

/** What a claim returns; see ClaimedRow. */
export const CLAIMED_COLUMNS = `m.id::text AS id, m.seq::text AS seq, m.transport, m.destination, m.type, m."key",
  m.key_hash::text AS key_hash, m.tenant, m.source, m.payload, m.content_type, m.content_encoding, m.schema_version,
  m.headers::text AS headers, m.attempts, m.claims, ${epochMs('m.created_at')} AS created_ms`;

/** The same of a subquery that has them. */
export const CLAIMED_NAMES = `id, seq, transport, destination, type, "key", key_hash, tenant, source, payload, content_type,
  content_encoding, schema_version, headers, attempts, claims, created_ms`;

/** What people look at; see RecordRow. */
export const RECORD_COLUMNS = `${CLAIMED_COLUMNS.replace(' m.payload,', '')}, m.status, m.claimed_by, m.last_error,
  ${epochMs('m.next_attempt_at')} AS next_attempt_ms, ${epochMs('m.expires_at')} AS expires_ms,
  ${epochMs('m.sent_at')} AS sent_ms, ${epochMs('m.consumed_at')} AS consumed_ms, ${epochMs('m.dead_at')} AS dead_ms`;

/** TypeORM answers an UPDATE or a DELETE with its rows and their count. */
export type Changed<Row = unknown> = [rows: Row[], count: number];
