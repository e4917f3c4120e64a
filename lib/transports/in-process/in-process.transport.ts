import { Logger } from '@nestjs/common';
import type * as smqp from 'smqp';
import { describeError } from '../../core/errors';
import type { ClaimedMessage } from '../../core/message';
import { loadPeer } from '../../core/optional-peer';
import type {
  SendOutcome,
  Transport,
  TransportCapabilities,
  TransportContext,
} from '../../core/transport.port';
import type { ApplicationSettings } from './application-settings';
import { BatchConsumer } from './batch-consumer';
import { type ConsumerResult, Delivery, type Parcel, type Settle } from './delivery';
import { FinishedConsumers } from './finished-consumers';
import { Routes } from './routes';
import { Runner } from './runner';
import { type QueueConsumer, SingleConsumer } from './single-consumer';
import { type Subscription, findSubscriptions } from './subscriptions';

/*
 * Carries messages to handlers of this process. What must hold:
 *
 * - A message is confirmed when every handler bound to it has finished, and not before: the row in the outbox is all that
 *   survives a crash. So a crash between two handlers runs the first one again (at least once).
 * - Each consumer (a queue) has an outcome of its own. A retry runs those that failed, and not their siblings.
 * - At most `concurrencyMax` messages are out; the others wait here in the order in which they came, and are
 *   `unreachable` when the process stops.
 */

const FINISHED_MESSAGES_MAX = 10_000;

/** What becomes of a message of which these are all the consumers. */
function outcomeOf(results: readonly ConsumerResult[]): SendOutcome {
  const failures = results.filter((result) => result.kind === 'failed');
  const skipped = results.some(({ kind }) => kind === 'skipped');
  if (failures.length === 0)
    return skipped ? { kind: 'unreachable', error: 'the process stops' } : { kind: 'confirmed' };
  const error = failures.map((failure) => failure.error).join('; ');
  return { kind: 'refused', error, retry: skipped || failures.some(({ retry }) => retry) };
}

export class InProcessTransport implements Transport {
  readonly capabilities: TransportCapabilities;
  private readonly logger: Logger;
  private readonly runner: Runner;
  private readonly finished = new FinishedConsumers(FINISHED_MESSAGES_MAX);
  private readonly listeners = new Set<(state: 'up' | 'down', reason?: string) => void>();
  private readonly open = new Set<Delivery>();
  private readonly warned = new Set<string>();
  private waiting: Delivery[] = [];
  private active = 0;
  private routes: Routes | null = null;
  private stopping: Promise<void> | null = null;

  constructor(
    private readonly settings: ApplicationSettings,
    private readonly context: TransportContext,
  ) {
    this.logger = new Logger(`InProcessTransport(${context.name})`);
    this.runner = new Runner(settings, this.logger);
    this.capabilities = {
      confirms: 'handlers',
      concurrencyMax: settings.options.concurrencyMax,
      sendTimeoutMs: 0,
    };
  }

  start(): Promise<void> {
    const subscriptions = findSubscriptions(this.settings, this.context);
    const routes = new Routes(loadPeer<typeof smqp>('smqp', 'inProcess()'), this.settings, subscriptions);
    for (const subscription of subscriptions) this.consume(routes, subscription);
    this.warnOfSharedQueues(subscriptions);
    this.routes = routes;
    for (const listener of this.listeners) listener('up');
    return Promise.resolve();
  }

  send(messages: readonly ClaimedMessage[], settle: Settle): void {
    if (this.routes === null || this.stopping !== null) {
      const error = this.stopping === null ? 'not started yet' : 'the transport is stopped';
      queueMicrotask(() => {
        for (const message of messages) settle(message, { kind: 'unreachable', error });
      });
      return;
    }
    for (const message of messages) {
      const slash = message.destination.indexOf('/');
      const exchange = slash < 0 ? message.destination : message.destination.slice(0, slash);
      const routingKey = slash < 0 ? message.type : message.destination.slice(slash + 1);
      const delivery = new Delivery(message, exchange, routingKey, this.guarded(settle), (...args) => {
        this.conclude(...args);
      });
      this.open.add(delivery);
      this.waiting.push(delivery);
    }
    // Handlers must neither run inside the caller nor carry its transaction: all that follows begins here.
    this.context.outside(() => {
      queueMicrotask(() => {
        this.admit();
      });
    });
  }

  probe(): Promise<boolean> {
    return Promise.resolve(this.routes !== null && this.stopping === null);
  }

  onStateChange(listener: (state: 'up' | 'down', reason?: string) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  stop(): Promise<void> {
    this.stopping ??= this.end();
    return this.stopping;
  }

  private async end(): Promise<void> {
    this.runner.close();
    for (const listener of this.listeners) listener('down', 'the transport is stopped');
    // Let `stopping` be set first: whoever is told may send at once.
    await Promise.resolve();
    this.giveUp(this.waiting);
    this.waiting = [];
    await new Promise<void>((resolve) => {
      const cancel = this.context.clock.after(this.settings.options.stopTimeoutMs, resolve);
      void this.runner.idle().then(() => {
        cancel();
        resolve();
      });
    });
    // The last verdicts are a few promises behind the handlers.
    await new Promise((resolve) => setImmediate(resolve));
    this.giveUp([...this.open]);
  }

  private giveUp(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) {
      this.open.delete(delivery);
      delivery.settle({ kind: 'unreachable', error: 'the process stops' });
    }
  }

  private consume(routes: Routes, subscription: Subscription): void {
    const { name, queue, config } = subscription;
    const batchSize = config.batchOptions?.size ?? 0;
    const { concurrencyMax } = this.settings.options;
    if (batchSize > concurrencyMax) {
      this.logger.warn(
        `The batches of ${name} can never be ${batchSize} messages: inProcess.concurrencyMax is ${concurrencyMax}`,
      );
    }
    const consumer: QueueConsumer = config.batchOptions
      ? new BatchConsumer(subscription, this.runner, this.context.clock)
      : new SingleConsumer(subscription, this.runner);
    routes.consume(queue, Math.max(this.settings.prefetch, batchSize), name, (message) => {
      consumer.accept(message.content as Parcel, () => {
        message.ack();
      });
    });
  }

  private admit(): void {
    while (this.active < this.capabilities.concurrencyMax) {
      const delivery = this.waiting.shift();
      if (delivery === undefined) return;
      this.active += 1;
      this.deliver(delivery);
    }
  }

  private deliver(delivery: Delivery): void {
    const { exchange, routingKey, message } = delivery;
    const routes = this.routes?.of(exchange, routingKey) ?? [];
    const before = this.finished.of(message.id);
    const targets = routes.filter(({ queue }) => !before.has(queue.name));
    if (routes.length === 0) {
      this.unroutable(delivery);
    } else if (targets.length === 0) {
      this.conclude(delivery, new Map());
    } else {
      delivery.await(targets.map(({ queue }) => queue.name));
      for (const target of targets) {
        const parcel: Parcel = { delivery, exchange: target.exchange };
        target.queue.queueMessage({ routingKey, exchange: target.exchange }, parcel);
      }
    }
  }

  /** All its consumers have had their say. */
  private conclude(delivery: Delivery, results: ReadonlyMap<string, ConsumerResult>): void {
    const { id } = delivery.message;
    const all = new Map([...this.finished.of(id), ...results]);
    const outcome = outcomeOf([...all.values()]);
    const comesAgain = outcome.kind === 'unreachable' || (outcome.kind === 'refused' && outcome.retry);
    // Whoever has given the message up is not asked again, until it is a dead letter and a person redrives it.
    const settled = [...all].filter(
      ([, result]) => result.kind === 'finished' || (comesAgain && result.kind === 'failed' && !result.retry),
    );
    this.finished.remember(id, new Map(outcome.kind === 'confirmed' ? [] : settled));
    this.leave(delivery);
    delivery.settle(outcome);
  }

  private unroutable(delivery: Delivery): void {
    const { type, destination } = delivery.message;
    const policy = this.settings.options.unroutable(type);
    this.leave(delivery);
    if (policy === 'retry' || policy === 'deadLetter') {
      const error = `No handler is bound for it at ${destination}. Bind one with @RabbitSubscribe, or see inProcess.unroutable`;
      delivery.settle({ kind: 'refused', error, retry: policy === 'retry' });
      return;
    }
    if (policy === 'unasked' && !this.warned.has(type)) {
      this.warned.add(type);
      this.logger.warn(
        `No handler is bound for ${type} at ${destination}: its messages count as sent. Where that is meant, say so: ` +
          `inProcess({ unroutable: { '${type}': 'accept' } }).`,
      );
    }
    delivery.settle({ kind: 'confirmed' });
  }

  /** A receiver of outcomes that throws must not keep a queue from going on. */
  private guarded(settle: Settle): Settle {
    return (message, outcome) => {
      try {
        settle(message, outcome);
      } catch (error) {
        this.logger.error(`The outcome of message ${message.id} was not taken: ${describeError(error)}`);
      }
    };
  }

  private leave(delivery: Delivery): void {
    this.open.delete(delivery);
    this.active -= 1;
    if (this.waiting.length > 0) {
      queueMicrotask(() => {
        this.admit();
      });
    }
  }

  /** As with RabbitMQ; and there, too, it is rarely meant. */
  private warnOfSharedQueues(subscriptions: readonly Subscription[]): void {
    const names = new Map<string, string[]>();
    for (const { queue, name } of subscriptions) names.set(queue, [...(names.get(queue) ?? []), name]);
    for (const [queue, handlers] of names) {
      if (handlers.length < 2) continue;
      this.logger.warn(
        `${handlers.join(' and ')} share the queue ${queue}: each message goes to one of them only`,
      );
    }
  }
}
