/** Headers of a message: names to strings. Names that begin with `x-outbox-`, and `outbox-slot`, are the library's. */
export type MessageHeaders = Readonly<Record<string, string>>;

/** What a message is, wherever it is: in memory, in the table, on its way to a broker. */
export interface MessageContent {
  /** UUID, in lower case. A version 7 of ours, unless the caller gave one. */
  readonly id: string;
  /** What happened, e.g. `order.placed`. */
  readonly type: string;
  /** The name under which the transport was registered. */
  readonly transport: string;
  /** Where to, in the transport's own terms. RabbitMQ: `exchange` or `exchange/routing.key`. */
  readonly destination: string;
  /** Messages with the same key (per transport and order scope) are sent in commit order. Compared by bytes. */
  readonly key: string | null;
  /** A 64-bit digest of transport, order scope and key, as a signed integer; null when there is no key. */
  readonly keyHash: bigint | null;
  readonly tenant: string | null;
  /** The name of the publishing application. */
  readonly source: string | null;
  /** The encoded payload. What is sent again is, byte by byte, what was sent first. */
  readonly payload: Buffer;
  readonly contentType: string;
  readonly contentEncoding: string | null;
  readonly schemaVersion: number | null;
  readonly headers: MessageHeaders;
}

/** A message that was published and waits for its transaction's outcome. */
export interface StagedMessage extends MessageContent {
  /** How long after the commit it may be sent at the earliest. Milliseconds, 0 for at once. */
  readonly delayMs: number;
  /** How long after the commit it is of no use any more. Milliseconds, null for never. */
  readonly expiresInMs: number | null;
}

/** A committed message whose lease this process holds. */
export interface ClaimedMessage extends MessageContent {
  /** The fence: failures, releases and renewals apply only while the row still bears this token. */
  readonly token: string;
  /** How often a transport refused it so far. */
  readonly attempts: number;
  /** How often it was taken for sending without an outcome so far, this time included. */
  readonly claims: number;
  readonly createdAt: Date;
  /** When the lease ends, on this process's monotonic clock (`Clock.monotonicMs`). */
  readonly leaseEndsAtMs: number;
}

/** A row as people look at it: without its payload, unless it is asked for. */
export interface MessageRecord {
  readonly id: string;
  /** The order of insertion; within one key also the order of commits. Decimal digits: it may be too large for a number. */
  readonly seq: string;
  readonly type: string;
  readonly transport: string;
  readonly destination: string;
  readonly key: string | null;
  readonly tenant: string | null;
  readonly source: string | null;
  readonly status: import('./message-status').MessageStatus;
  readonly attempts: number;
  readonly claims: number;
  readonly contentType: string;
  readonly contentEncoding: string | null;
  readonly schemaVersion: number | null;
  readonly headers: MessageHeaders;
  readonly nextAttemptAt: Date;
  readonly expiresAt: Date | null;
  readonly claimedBy: string | null;
  readonly lastError: string | null;
  readonly createdAt: Date;
  readonly sentAt: Date | null;
  readonly consumedAt: Date | null;
  readonly deadAt: Date | null;
  /** Present when the caller asked for it. */
  readonly payload?: Buffer;
}
