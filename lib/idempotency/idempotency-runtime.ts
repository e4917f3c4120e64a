import { Logger } from '@nestjs/common';

import type { Clock } from '../core/clock';
import { DuplicateInProgressError, HandlerNackedError, OutboxConfigurationError } from '../core/errors';
import type { OutboxEvents } from '../core/events';
import type { ConsumedMessage, IdempotentHandling, IdempotentMarker } from '../core/idempotency.port';
import type { InboxEntry, InboxStore } from '../core/inbox-store.port';
import type { Transactions } from '../core/transactions.port';
import { FailureDiagnosis } from './failure-nature';
import { type Delivery, HandlerArguments } from './handler-arguments';
import { messageKeyOf } from './message-key';
import { asNack } from './nack';
import { restoreOrigin } from './origin';
import { pause } from './pause';

export interface IdempotencySettings {
  readonly duplicateWaitMs: number;
  readonly transientAttemptsMax: number;
}

export interface IdempotencyDependencies {
  readonly transactions: Transactions;
  readonly inbox: InboxStore;
  readonly events: OutboxEvents;
  readonly options: IdempotencySettings;
  readonly clock: Clock;
}

/** What became of one delivered message. */
export type HandlingOutcome =
  { readonly kind: 'handled' } | { readonly kind: 'failed'; readonly error: unknown };

interface KeyedDelivery extends Delivery {
  readonly messageKey: string;
}

const TRANSIENT_PAUSE_MAX_MS = 200;

/**
 * The inbox around a handler.
 *
 * One transaction holds the inbox rows and the handler's effect, so that there is never the one without the other:
 * - died before the commit: neither is stored; the broker delivers again.
 * - died after the commit, before the acknowledgement: the broker delivers again, the row is found, nothing runs.
 * - a concurrent duplicate waits at the INSERT for the first one's outcome: committed, it is a duplicate; rolled back, it
 *   is the first now. Several that wait for one that rolls back deadlock among themselves (on MariaDB every time): the
 *   server picks victims, and they try again at once.
 * - the COMMIT's answer is lost: the delivery fails here, is made again, and the row tells.
 */
export class IdempotencyRuntime implements IdempotentHandling {
  /** Tells whose fault a failure is. */
  readonly diagnosis: FailureDiagnosis;
  private readonly logger = new Logger('Idempotent');
  private readonly consumers = new WeakMap<IdempotentMarker, string>();
  private readonly outcomes = new WeakMap<ConsumedMessage, HandlingOutcome>();
  private readonly keys = new WeakMap<ConsumedMessage, string>();
  private readonly closed = new WeakSet<IdempotentMarker>();
  private readonly whenIdle: (() => void)[] = [];
  private running = 0;

  constructor(private readonly dependencies: IdempotencyDependencies) {
    this.diagnosis = new FailureDiagnosis(dependencies);
  }

  /** Gives a handler the name under which the inbox keeps what it has handled. */
  bind(marker: IdempotentMarker, consumer: string): void {
    this.consumers.set(marker, consumer);
  }

  /** From now on this handler is not begun any more. */
  close(marker: IdempotentMarker): void {
    this.closed.add(marker);
  }

  /** What became of a message when it was last handled; undefined when the handler's turn never came, or is not over. */
  outcomeOf(message: ConsumedMessage): HandlingOutcome | undefined {
    return this.outcomes.get(message);
  }

  /** The key under which it was last handled; its message id where it never was. */
  keyOf(message: ConsumedMessage): string | null {
    return this.keys.get(message) ?? message.properties.messageId ?? null;
  }

  async handle(
    marker: IdempotentMarker,
    args: readonly unknown[],
    proceed: () => Promise<unknown>,
  ): Promise<void> {
    if (this.closed.has(marker))
      throw new Error(`${marker.method} takes no more messages: the process stops`);
    this.running += 1;
    try {
      await this.handleAll(marker, args, proceed);
    } finally {
      this.running -= 1;
      if (this.running === 0) for (const resolve of this.whenIdle.splice(0)) resolve();
    }
  }

  /** Resolves when no handler runs. */
  idle(): Promise<void> {
    if (this.running === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.whenIdle.push(resolve);
    });
  }

  private async handleAll(
    marker: IdempotentMarker,
    args: readonly unknown[],
    proceed: () => Promise<unknown>,
  ): Promise<void> {
    const consumer = this.consumerOf(marker);
    const given = new HandlerArguments(args);
    const keyed: KeyedDelivery[] = [];
    const refused: unknown[] = [];
    for (const delivery of given.deliveries) {
      const { message, payload } = delivery;
      restoreOrigin(message);
      this.forget(message);
      try {
        const messageKey = messageKeyOf(marker, payload, message);
        if (message !== undefined) this.keys.set(message, messageKey);
        keyed.push({ ...delivery, messageKey });
      } catch (error) {
        this.settle(message, { kind: 'failed', error });
        refused.push(error);
      }
    }
    if (keyed.length > 0) await this.handleKeyed(marker, consumer, given, keyed, proceed);
    if (refused.length > 0) throw refused[0];
  }

  private async handleKeyed(
    marker: IdempotentMarker,
    consumer: string,
    given: HandlerArguments,
    keyed: readonly KeyedDelivery[],
    proceed: () => Promise<unknown>,
  ): Promise<void> {
    const startedAtMs = this.dependencies.clock.monotonicMs();
    let fresh: readonly KeyedDelivery[];
    try {
      fresh = await this.retryTransient(() => this.once(marker, consumer, given, keyed, proceed));
    } catch (error) {
      // Of a batch that failed nobody knows yet who is to blame.
      if (given.deliveries.length === 1) this.settle(keyed[0]?.message, { kind: 'failed', error });
      throw error;
    }
    const durationMs = this.dependencies.clock.monotonicMs() - startedAtMs;
    for (const delivery of keyed) {
      this.settle(delivery.message, { kind: 'handled' });
      this.tell(consumer, delivery, fresh.includes(delivery), durationMs);
    }
  }

  /** @returns those that were new; resolved when their effect is committed. */
  private once(
    marker: IdempotentMarker,
    consumer: string,
    given: HandlerArguments,
    keyed: readonly KeyedDelivery[],
    proceed: () => Promise<unknown>,
  ): Promise<readonly KeyedDelivery[]> {
    const { transactions } = this.dependencies;
    // Never somebody else's transaction: what is acknowledged must be committed.
    const terms = { propagation: 'requiresNew' as const, name: marker.method };
    const { isolation } = marker.options;
    return transactions.run(isolation === undefined ? terms : { ...terms, isolation }, async () => {
      const fresh = await this.add(consumer, keyed);
      if (fresh.length === 0) return fresh;
      const nack = asNack(await given.only(fresh, proceed));
      // Returned or thrown, a refusal must not leave an inbox row.
      if (nack !== null) throw new HandlerNackedError(marker.method, nack.requeue);
      return fresh;
    });
  }

  private async add(consumer: string, keyed: readonly KeyedDelivery[]): Promise<readonly KeyedDelivery[]> {
    const { inbox, transactions, options } = this.dependencies;
    const statements = transactions.current();
    let added: readonly InboxEntry[];
    try {
      added = await inbox.add(
        statements,
        keyed.map(({ messageKey }) => ({ consumer, messageKey })),
        options.duplicateWaitMs,
      );
    } catch (error) {
      if (!inbox.isLockTimeout(error)) throw error;
      throw new DuplicateInProgressError(consumer, keyed.map(({ messageKey }) => messageKey).join(', '), {
        cause: error,
      });
    }
    if (added.length === keyed.length) return keyed;
    const addedKeys = new Set(added.map(({ messageKey }) => messageKey));
    // delete() answers true once: of a message that is doubled in the batch, the first copy counts.
    return keyed.filter(({ messageKey }) => addedKeys.delete(messageKey));
  }

  private async retryTransient<T>(work: () => Promise<T>): Promise<T> {
    const { clock, options } = this.dependencies;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work();
      } catch (error) {
        if (attempt >= options.transientAttemptsMax || !this.diagnosis.isTransient(error)) throw error;
        // Jitter, so that those who deadlocked together do not meet again.
        await pause(clock, Math.random() * Math.min(5 * 2 ** attempt, TRANSIENT_PAUSE_MAX_MS));
      }
    }
  }

  private consumerOf(marker: IdempotentMarker): string {
    const consumer = this.consumers.get(marker) ?? marker.options.consumer;
    if (consumer !== undefined) return consumer;
    throw new OutboxConfigurationError(
      `@Idempotent(${marker.method})`,
      'was called before the application had started, and so has no consumer name. Start it with app.init().',
    );
  }

  private tell(consumer: string, { messageKey }: KeyedDelivery, isFresh: boolean, durationMs: number): void {
    const { events } = this.dependencies;
    if (isFresh) {
      if (events.has('inbox.handled')) events.emit('inbox.handled', { consumer, messageKey, durationMs });
      return;
    }
    this.logger.debug(`${consumer}: dropped message ${messageKey}, it was handled before`);
    events.emit('inbox.duplicate', { consumer, messageKey });
  }

  private settle(message: ConsumedMessage | undefined, outcome: HandlingOutcome): void {
    if (message !== undefined) this.outcomes.set(message, outcome);
  }

  private forget(message: ConsumedMessage | undefined): void {
    if (message !== undefined) this.outcomes.delete(message);
  }
}
