import type { Type } from '@nestjs/common';

import type { DeadLetterStore } from '../core/dead-letter-store.port';
import { type OutboxEvents, type MessageRef } from '../core/events';
import type { RelayControl } from '../core/relay-control.port';
import { DEFAULT_DATA_SOURCE, OUTBOX_PART, outboxToken } from '../core/tokens';

/** What the tester looks its parts up in: an application, a testing module or a ModuleRef. */
export interface ProviderLookup {
  get<Part>(token: string | symbol | Type<Part>, options?: { strict: boolean }): Part;
}

/** A message that a test published, with its payload when that is JSON. */
export interface PublishedMessage extends MessageRef {
  readonly payload: unknown;
  readonly headers: Readonly<Record<string, string>>;
  readonly status: string;
}

export interface OutboxTesterOptions {
  /** The data source's name. @default 'default' */
  readonly dataSource?: string;
}

/**
 * Follows an application's messages in a test: wait until they are delivered, and see what was published and what was
 * rolled back.
 *
 * ```ts
 * const tester = OutboxTester.of(app);
 * await orders.place(command);
 * await tester.drained();
 * expect(await tester.published('order.placed')).toHaveLength(1);
 * ```
 */
export class OutboxTester {
  private readonly staged = new Map<string, MessageRef>();
  private readonly committed = new Set<string>();
  private readonly stops: (() => void)[];

  private constructor(
    private readonly relay: RelayControl,
    private readonly messages: Pick<DeadLetterStore, 'get'>,
    events: OutboxEvents,
  ) {
    this.stops = [
      events.on('message.staged', (message) => {
        this.staged.set(message.id, message);
      }),
      events.on('message.committed', (message) => {
        this.committed.add(message.id);
      }),
    ];
  }

  /** Begins to follow the messages of an application from now on. */
  static of(application: ProviderLookup, options: OutboxTesterOptions = {}): OutboxTester {
    const part = <Part>(name: string): Part =>
      application.get<Part>(outboxToken(name, options.dataSource ?? DEFAULT_DATA_SOURCE), { strict: false });
    return new OutboxTester(part(OUTBOX_PART.relay), part(OUTBOX_PART.deadLetters), part(OUTBOX_PART.events));
  }

  /**
   * Resolves when no message waits any more: all are sent (in process: handled), or are dead letters, or wait behind
   * one. Messages that handlers publish in turn are waited for, too; those that are delayed on purpose are not.
   * @throws RelayError when that takes longer than `timeoutMs` (10,000 unless given)
   */
  async drained(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const endsAt = performance.now() + (options.timeoutMs ?? 10_000);
    let known: number;
    do {
      known = this.committed.size;
      await this.relay.flush({ timeoutMs: Math.max(1, endsAt - performance.now()) });
      // What the handlers just finished published in turn was committed while the flush went on.
    } while (this.committed.size !== known);
  }

  /** The messages published and committed since `of()` or `clear()`, oldest first. */
  async published(type?: string): Promise<PublishedMessage[]> {
    const found: PublishedMessage[] = [];
    for (const id of this.committed) {
      const message = await this.messages.get(id);
      if (message === null || (type !== undefined && message.type !== type)) continue;
      const { transport, destination, key, headers, status } = message;
      found.push({
        id,
        type: message.type,
        transport,
        destination,
        key,
        headers,
        status,
        payload: decode(message.contentType, message.payload),
      });
    }
    return found;
  }

  /** The messages published in transactions that did not commit (or have not yet), oldest first. */
  rolledBack(type?: string): MessageRef[] {
    return [...this.staged.values()].filter(
      (message) => !this.committed.has(message.id) && (type === undefined || message.type === type),
    );
  }

  /** Forgets what was published so far. */
  clear(): void {
    this.staged.clear();
    this.committed.clear();
  }

  /** Stops following. */
  stop(): void {
    for (const stop of this.stops) stop();
  }
}

function decode(contentType: string, payload: Buffer | undefined): unknown {
  if (payload === undefined) return undefined;
  return contentType === 'application/json' ? (JSON.parse(payload.toString('utf8')) as unknown) : payload;
}
