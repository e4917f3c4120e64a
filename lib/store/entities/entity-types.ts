import type { MessageHeaders } from '../../core/message';
import type { MessageStatus } from '../../core/message-status';

/** A row of `outbox_message`. See DESIGN's section "The store" and the README for the meaning of the columns. */
export interface OutboxMessageEntity {
  id: string;
  /** The order of insertion; within one key also the order of commits. */
  seq: string;
  transport: string;
  destination: string;
  type: string;
  key: string | null;
  keyHash: string | null;
  tenant: string | null;
  source: string | null;
  /** Not selected unless asked for. */
  payload: Buffer;
  contentType: string;
  contentEncoding: string | null;
  schemaVersion: number | null;
  headers: MessageHeaders;
  status: MessageStatus;
  attempts: number;
  claims: number;
  /** Lease, delay and back-off at once: the row may be claimed from then on. */
  nextAttemptAt: Date;
  /** From when on it could have been sent, had everything gone well: its birth and its delay, or its redrive. */
  availableAt: Date;
  expiresAt: Date | null;
  claimToken: string | null;
  claimedBy: string | null;
  lastError: string | null;
  createdAt: Date;
  sentAt: Date | null;
  consumedAt: Date | null;
  deadAt: Date | null;
  /** When its alarm rings, next: it is a dead letter, and nobody has heard of it yet. */
  alarmDueAt: Date | null;
  /** When it became what it is: sent, consumed, dead or cancelled. Retention counts from here. */
  finishedAt: Date | null;
}

/** A row of `inbox_message`: a message that a consumer has handled. */
export interface InboxMessageEntity {
  consumer: string;
  messageKey: string;
  processedAt: Date;
}

/** A row of `outbox_key` (MySQL): the lock of all keys whose digest falls into this bucket. */
export interface OutboxKeyEntity {
  bucket: number;
}

/** A row of `outbox_schema`: a version of the tables that was installed. */
export interface OutboxSchemaEntity {
  version: number;
  /** The oldest version of this library's schema whose code still works with the tables. */
  compatibleFrom: number;
}
