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

interface Binding {
  readonly consumer: string;
  readonly instance: object | null;
}

/** What is known of a message, over all times that it is handled. */
interface Handling {
  messageKey: string | null;
  outcome: HandlingOutcome | undefined;
}

interface KeyedDelivery extends Delivery {
  readonly messageKey: string;
  readonly handling: Handling;
}

const HANDLED: HandlingOutcome = { kind: 'handled' };

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
  private readonly bindings = new WeakMap<IdempotentMarker, Binding>();
  private readonly handlings = new WeakMap<ConsumedMessage, Handling>();
  private readonly closed = new WeakSet<IdempotentMarker>();
  private readonly whenIdle: (() => void)[] = [];
  private running = 0;

  constructor(private readonly dependencies: IdempotencyDependencies) {
    this.diagnosis = new FailureDiagnosis(dependencies);
  }

  /** @param consumer the name under which the inbox keeps what the handler has handled. @param instance as in `instanceOf` */
  bind(marker: IdempotentMarker, consumer: string, instance: object | null = null): void {
    this.bindings.set(marker, { consumer, instance });
  }

  instanceOf(marker: IdempotentMarker): object | null {
    return this.bindings.get(marker)?.instance ?? null;
  }

  /** From now on this handler is not begun any more. */
  close(marker: IdempotentMarker): void {
    this.closed.add(marker);
  }

  /** What became of a message when it was last handled; undefined when the handler's turn never came, or is not over. */
  outcomeOf(message: ConsumedMessage): HandlingOutcome | undefined {
    return this.handlings.get(message)?.outcome;
  }

  /** The key under which it was last handled; its message id where it never was. */
  keyOf(message: ConsumedMessage): string | null {
    return this.handlings.get(message)?.messageKey ?? message.properties.messageId ?? null;
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
    for (const { index, payload, message } of given.deliveries) {
      restoreOrigin(message);
      const handling = this.begin(message);
      try {
        const messageKey = messageKeyOf(marker, payload, message);
        handling.messageKey = messageKey;
        keyed.push({ index, payload, message, messageKey, handling });
      } catch (error) {
        handling.outcome = { kind: 'failed', error };
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
    const { clock } = this.dependencies;
    const startedAtMs = clock.monotonicMs();
    for (let attempt = 1; ; attempt += 1) {
      let fresh: readonly KeyedDelivery[];
      try {
        fresh = await this.once(marker, consumer, given, keyed, proceed);
      } catch (error) {
        if (!this.mayTryAgain(attempt, error)) {
          // Of a batch that failed nobody knows yet who is to blame.
          const [only] = keyed;
          if (given.deliveries.length === 1 && only !== undefined)
            only.handling.outcome = { kind: 'failed', error };
          throw error;
        }
        // Jitter, so that those who deadlocked together do not meet again.
        await pause(clock, Math.random() * Math.min(5 * 2 ** attempt, TRANSIENT_PAUSE_MAX_MS));
        continue;
      }
      this.succeed(consumer, keyed, fresh, clock.monotonicMs() - startedAtMs);
      return;
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

  private mayTryAgain(attempt: number, error: unknown): boolean {
    return attempt < this.dependencies.options.transientAttemptsMax && this.diagnosis.isTransient(error);
  }

  private consumerOf(marker: IdempotentMarker): string {
    const consumer = this.bindings.get(marker)?.consumer ?? marker.options.consumer;
    if (consumer !== undefined) return consumer;
    throw new OutboxConfigurationError(
      `@Idempotent(${marker.method})`,
      'was called before the application had started, and so has no consumer name. Start it with app.init().',
    );
  }

  private succeed(
    consumer: string,
    keyed: readonly KeyedDelivery[],
    fresh: readonly KeyedDelivery[],
    durationMs: number,
  ): void {
    const { events } = this.dependencies;
    const isHeard = events.has('inbox.handled');
    for (const delivery of keyed) {
      const { handling, messageKey } = delivery;
      handling.outcome = HANDLED;
      if (!fresh.includes(delivery)) {
        this.logger.debug(`${consumer}: dropped message ${messageKey}, it was handled before`);
        events.emit('inbox.duplicate', { consumer, messageKey });
      } else if (isHeard) {
        events.emit('inbox.handled', { consumer, messageKey, durationMs });
      }
    }
  }

  private begin(message: ConsumedMessage | undefined): Handling {
    const before = message === undefined ? undefined : this.handlings.get(message);
    if (before !== undefined) {
      before.outcome = undefined;
      return before;
    }
    const handling: Handling = { messageKey: null, outcome: undefined };
    if (message !== undefined) this.handlings.set(message, handling);
    return handling;
  }
}
