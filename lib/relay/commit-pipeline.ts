import { randomUUID } from 'node:crypto';
import { Logger } from '@nestjs/common';
import type { Clock } from '../core/clock';
import type { OutboxEvents } from '../core/events';
import type { ClaimedMessage, StagedMessage } from '../core/message';
import type { OutboxStore, WrittenMessage } from '../core/outbox-store.port';
import type { StatementRunner } from '../core/statement-runner';
import type { CommitListener, WrittenBatch } from '../core/transactions.port';
import { messageRef } from './message-ref';

/** So much of a query is logged: enough to find it, not enough to be a payload. */
const QUERY_LENGTH_MAX = 200;

export interface CommitPipelineParts {
  readonly store: Pick<OutboxStore, 'write'>;
  readonly clock: Clock;
  readonly events: OutboxEvents;
  readonly owner: string;
  readonly leaseMs: number;
  /** Whether a message of that transport, committed now, would be sent from this process's memory. */
  readonly sendsNow: (transport: string) => boolean;
  /** These are committed, and this process holds them. */
  readonly hand: (messages: readonly ClaimedMessage[]) => void;
  /** This one was born blocked: its predecessor may be gone by now. */
  readonly blocked: (message: StagedMessage) => void;
  /** Some are due, and nobody holds them. */
  readonly bornDue: () => void;
  /** One will be due. */
  readonly dueIn: (delayMs: number) => void;
  /** Runs work outside of any ambient transaction. */
  readonly outside: <T>(work: () => T) => T;
}

interface Batch extends WrittenBatch {
  readonly messages: readonly StagedMessage[];
  readonly written: readonly WrittenMessage[];
  readonly token: string;
  /** On the monotonic clock; null when the rows were born due. */
  readonly leaseEndsAtMs: number | null;
}

/**
 * What happens to messages around their transaction's commit.
 *
 * A row is born either leased to this process, which then sends it from memory, or due, for whoever claims it. That is
 * decided before the INSERT and cannot be wrong: a leased row that is not sent after all (the COMMIT took too long, the
 * queue is full by now, the process dies) is due when its lease ends. The deadline is taken before the INSERT, so that it
 * lies before the end of the lease, which the database counts from the INSERT on.
 */
export class CommitPipeline implements CommitListener {
  private readonly logger = new Logger('Outbox');

  constructor(private readonly parts: CommitPipelineParts) {}

  async write(
    statements: StatementRunner,
    messages: readonly StagedMessage[],
    isolation: string | null,
  ): Promise<WrittenBatch> {
    const { store, clock, owner } = this.parts;
    const leased = messages.some(({ transport, delayMs }) => delayMs === 0 && this.parts.sendsNow(transport));
    const leaseMs = leased ? this.parts.leaseMs : 0;
    const token = randomUUID();
    const startedAtMs = clock.monotonicMs();
    const written = await store.write(statements, messages, { token, owner, leaseMs, isolation });
    const batch: Batch = { messages, written, token, leaseEndsAtMs: leased ? startedAtMs + leaseMs : null };
    return batch;
  }

  committed(batch: WrittenBatch): void {
    try {
      // Whatever it starts outlives the transaction, and must not carry it along.
      this.parts.outside(() => this.handOver(batch as Batch));
    } catch (error) {
      // The transaction is committed; its caller must not hear of a failure. The rows become due when their lease ends.
      this.logger.error('Committed messages could not be handed over; the resend job will send them', error);
    }
  }

  lost(messages: readonly StagedMessage[], reason: string): void {
    for (const message of messages) {
      this.logger.error(
        `Message ${message.id} (${message.type}) was published and will never be sent: ${reason}`,
      );
      this.parts.events.emit('message.lost', { ...messageRef(message), reason });
    }
  }

  escaped(query: string, transactionName: string): void {
    const excerpt = query.replace(/\s+/g, ' ').slice(0, QUERY_LENGTH_MAX);
    this.logger.warn(`A write inside ${transactionName} went past its transaction: ${excerpt}`);
    this.parts.events.emit('write.escaped', { transaction: transactionName, query: excerpt });
  }

  private handOver({ messages, written, token, leaseEndsAtMs }: Batch): void {
    const createdAt = new Date(this.parts.clock.wallMs());
    const heard = this.parts.events.has('message.committed');
    const held: ClaimedMessage[] = [];
    let due = false;
    messages.forEach((message, index) => {
      const blocked = written[index]?.status === 'blocked';
      if (heard) this.parts.events.emit('message.committed', { ...messageRef(message), blocked });
      if (message.delayMs > 0) this.parts.dueIn(message.delayMs);
      if (blocked) this.parts.blocked(message);
      else if (message.delayMs > 0) return;
      else if (leaseEndsAtMs === null) due = true;
      else held.push(claimedAtBirth(message, token, createdAt, leaseEndsAtMs));
    });
    if (held.length > 0) this.parts.hand(held);
    if (due) this.parts.bornDue();
  }
}

/** A message as its birth leased it. Property by property: for an object of this size, a spread costs a hundred times as much. */
function claimedAtBirth(
  message: StagedMessage,
  token: string,
  createdAt: Date,
  leaseEndsAtMs: number,
): ClaimedMessage {
  return {
    id: message.id,
    type: message.type,
    transport: message.transport,
    destination: message.destination,
    key: message.key,
    keyHash: message.keyHash,
    tenant: message.tenant,
    source: message.source,
    payload: message.payload,
    contentType: message.contentType,
    contentEncoding: message.contentEncoding,
    schemaVersion: message.schemaVersion,
    headers: message.headers,
    token,
    attempts: 0,
    claims: 1,
    createdAt,
    leaseEndsAtMs,
  };
}
