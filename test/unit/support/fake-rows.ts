import type { ClaimedMessage, MessageRecord, StagedMessage } from '../../../lib/core/message';
import type { MessageStatus } from '../../../lib/core/message-status';

/** One row of the fake outbox table. Times are those of the fake database's clock. */
export interface FakeRow {
  readonly message: StagedMessage;
  readonly seq: bigint;
  status: MessageStatus;
  attempts: number;
  claims: number;
  nextAttemptMs: number;
  readonly availableMs: number;
  readonly createdMs: number;
  expiresMs: number | null;
  token: string | null;
  owner: string | null;
  error: string | null;
  finishedMs: number | null;
  /** Its transaction is over. */
  committed: boolean;
  /** How often it became `sent`: never more than once. */
  completions: number;
}

export function claimedFrom(row: FakeRow, leaseEndsAtMs: number): ClaimedMessage {
  const { delayMs: _delay, expiresInMs: _expires, ...content } = row.message;
  return {
    ...content,
    token: row.token!,
    attempts: row.attempts,
    claims: row.claims,
    createdAt: new Date(row.createdMs),
    leaseEndsAtMs,
  };
}

export function recordFrom(row: FakeRow, withPayload = false): MessageRecord {
  const { message } = row;
  const finished = row.finishedMs === null ? null : new Date(row.finishedMs);
  return {
    id: message.id,
    seq: row.seq.toString(),
    type: message.type,
    transport: message.transport,
    destination: message.destination,
    key: message.key,
    tenant: message.tenant,
    source: message.source,
    status: row.status,
    attempts: row.attempts,
    claims: row.claims,
    contentType: message.contentType,
    contentEncoding: message.contentEncoding,
    schemaVersion: message.schemaVersion,
    headers: message.headers,
    nextAttemptAt: new Date(row.nextAttemptMs),
    expiresAt: row.expiresMs === null ? null : new Date(row.expiresMs),
    claimedBy: row.owner,
    lastError: row.error,
    createdAt: new Date(row.createdMs),
    sentAt: row.status === 'sent' ? finished : null,
    consumedAt: null,
    deadAt: row.status === 'dead_letter' ? finished : null,
    ...(withPayload ? { payload: message.payload } : {}),
  };
}

/** The blocked rows of its key that come after a row. */
export function waitingBehind({ message, seq }: FakeRow, rows: readonly FakeRow[]): FakeRow[] {
  if (message.keyHash === null) return [];
  return rows.filter(
    (row) => row.message.keyHash === message.keyHash && row.status === 'blocked' && row.seq > seq,
  );
}
