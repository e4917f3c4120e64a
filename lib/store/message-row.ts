import type { ClaimedMessage, MessageContent, MessageHeaders, MessageRecord } from '../core/message';
import type { MessageStatus } from '../core/message-status';
import type { MessageSituation } from '../core/outbox-store.port';

/** Of most messages. One object for all, so nobody may change it. */
const NO_HEADERS: MessageHeaders = Object.freeze({});

/**
 * A row of the message table as every dialect's SQL gives it: bigints and headers as text, times as milliseconds since
 * 1970. So nothing depends on the type parsers and time zones that the application gave its driver.
 */
export interface ClaimedRow {
  readonly id: string;
  readonly seq: string;
  readonly transport: string;
  readonly destination: string;
  readonly type: string;
  readonly key: string | null;
  readonly key_hash: string | null;
  readonly tenant: string | null;
  readonly source: string | null;
  readonly payload: Buffer;
  readonly content_type: string;
  readonly content_encoding: string | null;
  readonly schema_version: number | string | null;
  readonly headers: string;
  readonly attempts: number | string;
  readonly claims: number | string;
  readonly created_ms: number | string;
}

/** Where a row is in its key. */
export type KeyPlace = Pick<ClaimedRow, 'key_hash' | 'seq'>;

export interface RecordRow extends Omit<ClaimedRow, 'payload'> {
  readonly payload?: Buffer;
  readonly status: MessageStatus;
  readonly next_attempt_ms: number | string;
  readonly expires_ms: number | string | null;
  readonly claimed_by: string | null;
  readonly last_error: string | null;
  readonly sent_ms: number | string | null;
  readonly consumed_ms: number | string | null;
  readonly dead_ms: number | string | null;
}

/** A dead letter, or any row that a person looks at, and how many of its key wait behind it. */
export interface WaitedForRow extends RecordRow {
  readonly waiting: number | string;
}

/** What `inspect` reads: the row that was asked for first; of the others, which go before it, the record alone. */
export interface SituationRow extends WaitedForRow {
  /** Milliseconds from now, by the server's clock: negative when they have passed. */
  readonly due_in_ms: number | string;
  readonly available_in_ms: number | string;
  readonly expires_in_ms: number | string | null;
  readonly finished_ms: number | string | null;
  readonly claimed: boolean | number | string;
  readonly ahead: number | string;
}

/**
 * Rows as messages whose lease this process holds, oldest first. A row that cannot be read (somebody has changed it by
 * hand) is left out, so that it keeps no other from being sent: its lease ends, and after some takings it is quarantined.
 */
export function toClaimed(
  rows: readonly ClaimedRow[],
  token: string,
  leaseEndsAtMs: number,
  unreadable: (row: ClaimedRow) => void,
): ClaimedMessage[] {
  const messages: ClaimedMessage[] = [];
  for (const row of bySeq(rows)) {
    const headers = headersOf(row);
    if (headers === null) {
      unreadable(row);
      continue;
    }
    // Property by property: for an object of this size, a spread costs a hundred times as much.
    messages.push({
      id: row.id,
      type: row.type,
      transport: row.transport,
      destination: row.destination,
      key: row.key,
      keyHash: row.key_hash === null ? null : BigInt(row.key_hash),
      tenant: row.tenant,
      source: row.source,
      payload: row.payload,
      contentType: row.content_type,
      contentEncoding: row.content_encoding,
      schemaVersion: row.schema_version === null ? null : Number(row.schema_version),
      headers,
      token,
      attempts: Number(row.attempts),
      claims: Number(row.claims),
      createdAt: new Date(Number(row.created_ms)),
      leaseEndsAtMs,
    });
  }
  return messages;
}

/** Headers that cannot be read are shown as none: a dead letter must be seen, and told of, whatever is in it. */
export function toRecord(row: RecordRow): MessageRecord {
  return {
    ...content(row, headersOf(row) ?? {}),
    seq: row.seq,
    status: row.status,
    attempts: Number(row.attempts),
    claims: Number(row.claims),
    nextAttemptAt: new Date(Number(row.next_attempt_ms)),
    expiresAt: toDate(row.expires_ms),
    claimedBy: row.claimed_by,
    lastError: row.last_error,
    createdAt: new Date(Number(row.created_ms)),
    sentAt: toDate(row.sent_ms),
    consumedAt: toDate(row.consumed_ms),
    deadAt: toDate(row.dead_ms),
    ...(row.payload === undefined ? {} : { payload: row.payload }),
  };
}

/** null: there is no such message. */
export function toSituation(id: string, rows: readonly SituationRow[]): MessageSituation | null {
  const row = rows.find((one) => one.id === id);
  if (row === undefined) return null;
  const earlier = bySeq(rows.filter((one) => one !== row)).map(toRecord);
  return {
    message: toRecord(row),
    dueInMs: Number(row.due_in_ms),
    availableInMs: Number(row.available_in_ms),
    expiresInMs: row.expires_in_ms === null ? null : Number(row.expires_in_ms),
    finishedAt: toDate(row.finished_ms),
    isClaimed: Boolean(Number(row.claimed)),
    waiting: Number(row.waiting),
    ahead: {
      count: Number(row.ahead),
      first: earlier[0] ?? null,
      deadLetter: earlier.find(({ status }) => status === 'dead_letter') ?? null,
    },
  };
}

/** The statement's own order is lost where it updates and returns in one go. */
export function bySeq<Row extends { readonly seq: string }>(rows: readonly Row[]): Row[] {
  return [...rows].sort((a, b) => compareDigits(a.seq, b.seq));
}

/** Positive numbers in decimal digits, without leading zeros. They may be too large for a number. */
function compareDigits(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

function content(
  row: Omit<ClaimedRow, 'payload'>,
  headers: MessageHeaders,
): Omit<MessageContent, 'payload' | 'keyHash'> {
  return {
    id: row.id,
    type: row.type,
    transport: row.transport,
    destination: row.destination,
    key: row.key,
    tenant: row.tenant,
    source: row.source,
    contentType: row.content_type,
    contentEncoding: row.content_encoding,
    schemaVersion: row.schema_version === null ? null : Number(row.schema_version),
    headers,
  };
}

/** null where they are no JSON object. */
function headersOf({ headers }: { readonly headers: string }): MessageHeaders | null {
  if (headers === '{}') return NO_HEADERS;
  try {
    const value: unknown = JSON.parse(headers);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as MessageHeaders)
      : null;
  } catch {
    return null;
  }
}

function toDate(ms: number | string | null): Date | null {
  return ms === null ? null : new Date(Number(ms));
}
