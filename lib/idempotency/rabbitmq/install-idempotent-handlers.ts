import { Logger } from '@nestjs/common';
import type { DiscoveryService, ExternalContextCreator, MetadataScanner } from '@nestjs/core';
import type { Channel } from 'amqplib';
import { setMaxListeners } from 'node:events';

import type { Alarm } from '../../core/alarm.port';
import type { Clock } from '../../core/clock';
import type { OutboxEvents } from '../../core/events';
import { consumerNames } from '../consumer-names';
import { directInstanceOf } from '../direct-instance';
import { findIdempotentMethods } from '../discovery';
import type { IdempotencyRuntime } from '../idempotency-runtime';
import { pause } from '../pause';
import { FailureHandler, type FailureRoute } from './failure-handler';
import type { FailureLimits } from './failure-policy';
import { FailurePublisher } from './failure-publisher';
import { FailureQueues } from './failure-queues';
import { type AmqpConnection, golevelup, optionsOfConsumer, type RabbitHandlerConfig } from './golevelup';
import { HandlerRerun } from './handler-rerun';
import { keepDeclared, registerPartitions } from './partitions';
import { replaceDeclared, restoreDeclared, subscribed, type SubscribedMethod } from './subscriptions';

export interface InstallationTerms {
  /** The handlers of this data source are installed; those of others are looked at only to find conflicts. */
  readonly dataSource: string;
  readonly runtime: IdempotencyRuntime;
  readonly events: OutboxEvents;
  readonly alarm: Pick<Alarm, 'ring'>;
  readonly options: FailureLimits;
  readonly clock: Clock;
  readonly discovery: DiscoveryService;
  readonly scanner: MetadataScanner;
  readonly contexts: ExternalContextCreator;
  /** Looks a provider up in the whole application; undefined where there is none. */
  readonly resolve: <T>(token: unknown) => T | undefined;
}

const STOP_TIMEOUT_MS = 10_000;

/** The installed handlers of one data source. */
export interface IdempotentHandlers {
  readonly count: number;
  /**
   * Takes no more messages, lets running handlers end within a bound, and closes what was opened. To be called before the
   * database is closed (`beforeApplicationShutdown`). What is not handled or put away by then is delivered again.
   */
  stop(timeoutMs?: number): Promise<void>;
}

/**
 * Finds the `@Idempotent` handlers, names their consumers, and gives them error handlers. To be called in `onModuleInit`:
 * golevelup binds handlers in `onApplicationBootstrap`, with what stands in their metadata then.
 * @throws OutboxConfigurationError, FailureQueueError
 */
export async function installIdempotentHandlers(terms: InstallationTerms): Promise<IdempotentHandlers> {
  const found = findIdempotentMethods(terms.discovery, terms.scanner);
  if (found.length === 0) return { count: 0, stop: () => Promise.resolve() };
  const connections = connectionsOf(terms);
  const methods = found.map((method) => subscribed(method, connections));
  const names = consumerNames(methods);
  const own = methods.filter(({ marker }) => marker.dataSource === terms.dataSource);
  const installation = new Installation(terms, connections, methods);
  for (const method of own) {
    const consumer = names.get(method.marker) as string;
    terms.runtime.bind(method.marker, consumer, directInstanceOf(method));
    await installation.install(method, consumer);
  }
  return { count: own.length, stop: (timeoutMs = STOP_TIMEOUT_MS) => installation.stop(timeoutMs) };
}

function connectionsOf({ resolve }: InstallationTerms): readonly AmqpConnection[] {
  const { AmqpConnectionManager } = golevelup();
  const manager = resolve<InstanceType<typeof AmqpConnectionManager>>(AmqpConnectionManager);
  return manager?.getConnections() ?? [];
}

class Installation {
  private readonly logger = new Logger('Idempotent');
  private readonly stopping = new AbortController();
  private readonly publishers = new Map<AmqpConnection, FailurePublisher>();
  private readonly handlers: FailureHandler[] = [];
  private readonly replaced: { readonly method: SubscribedMethod; readonly config: RabbitHandlerConfig }[] =
    [];

  constructor(
    private readonly terms: InstallationTerms,
    private readonly connections: readonly AmqpConnection[],
    /** All handlers, of all data sources. */
    private readonly methods: readonly SubscribedMethod[],
  ) {
    // Every failed message that is held listens; Node takes more than ten listeners for a leak, and warns.
    setMaxListeners(0, this.stopping.signal);
  }

  async install(method: SubscribedMethod, consumer: string): Promise<void> {
    const { declared, name, subscriptions } = method;
    const own = subscriptions.find(({ config }) => config.errorHandler ?? config.batchOptions?.errorHandler);
    if (own !== undefined) {
      this.logger.log(`${name} keeps its own errorHandler: its retries and dead letters are its own affair`);
    }
    if (own !== undefined || this.connections.length === 0) {
      // An earlier application of this process may have left its own there.
      replaceDeclared(method, declared);
      return;
    }
    const handler = this.handlerOf(method, consumer, await this.routesOf(method, consumer));
    this.handlers.push(handler);
    const config: RabbitHandlerConfig = { ...declared, errorHandler: handler.onMessageFailure };
    if (declared.batchOptions !== undefined) {
      config.batchOptions = { ...declared.batchOptions, errorHandler: handler.onBatchFailure };
    }
    for (const { amqp, queue } of method.orderedQueues) await keepDeclared(amqp, queue);
    if (method.orderedQueues.length > 0) {
      config.name = registerPartitions(name, this.connections, (amqp) =>
        subscriptions
          .filter((each) => each.amqp === amqp)
          .map((each) => ({ ...each.config, errorHandler: handler.onMessageFailure })),
      );
    }
    replaceDeclared(method, config);
    this.replaced.push({ method, config });
  }

  async stop(timeoutMs: number): Promise<void> {
    this.stopping.abort();
    for (const { method, config } of this.replaced) {
      restoreDeclared(method, config);
      if (method.marker.options.ordered) this.terms.runtime.close(method.marker);
    }
    const ended = this.cancelConsumers()
      .then(() => this.terms.runtime.idle())
      .then(() => Promise.all(this.handlers.map((handler) => handler.idle())));
    const timer = new AbortController();
    const isLate = await Promise.race([
      ended.then(() => false),
      pause(this.terms.clock, timeoutMs, timer.signal),
    ]);
    timer.abort();
    if (isLate)
      this.logger.warn(`Handlers still run after ${timeoutMs} ms; their messages are delivered again`);
    await Promise.all([...this.publishers.values()].map((publisher) => publisher.close()));
  }

  /**
   * golevelup itself goes on to take messages until it closes the channels, which is after the database is closed.
   *
   * Consumers in order are not cancelled: the broker would give their next messages to another instance at once, past the
   * one that is in hand here. When the channel is closed, that one comes first again; until then none is begun.
   */
  private async cancelConsumers(): Promise<void> {
    const cancellations = this.connections.flatMap((amqp) =>
      amqp.consumerTags
        .filter((consumerTag) => !this.isOrdered(amqp, consumerTag))
        .map((consumerTag) => amqp.cancelConsumer(consumerTag)),
    );
    // A consumer of a connection that was lost cannot be cancelled, and takes no messages.
    await Promise.allSettled(cancellations);
  }

  private isOrdered(amqp: AmqpConnection, consumerTag: string): boolean {
    const errorHandler = optionsOfConsumer(amqp, consumerTag)?.errorHandler;
    return this.handlers.some((handler) => handler.ordered && handler.onMessageFailure === errorHandler);
  }

  private handlerOf(
    method: SubscribedMethod,
    consumer: string,
    routes: ReadonlyMap<AmqpConnection, FailureRoute>,
  ): FailureHandler {
    const { runtime, events, alarm, clock, options, contexts } = this.terms;
    const routeOf = (channel: Channel): FailureRoute | null => {
      const amqp = this.connections.find(({ channels }) =>
        Object.values(channels).some((each) => each === channel),
      );
      // The channel of a connection that was lost is known no more, and its messages are delivered again.
      return amqp === undefined ? null : (routes.get(amqp) ?? null);
    };
    const rerun = new HandlerRerun(method, runtime, contexts);
    const ordered = Boolean(method.marker.options.ordered);
    const stop = this.stopping.signal;
    return new FailureHandler(consumer, ordered, routeOf, rerun, {
      runtime,
      events,
      alarm,
      clock,
      limits: options,
      stop,
    });
  }

  private async routesOf(
    method: SubscribedMethod,
    consumer: string,
  ): Promise<Map<AmqpConnection, FailureRoute>> {
    const routes = new Map<AmqpConnection, FailureRoute>();
    for (const amqp of this.connections) {
      const subscriptions = method.subscriptions.filter((each) => each.amqp === amqp);
      const [subscription] = subscriptions;
      if (subscription === undefined) continue;
      const ordered = method.orderedQueues.find((each) => each.amqp === amqp)?.queue;
      // A message does not tell which queue it came from: with several, none can be its way back.
      const queue = subscriptions.length === 1 && ordered === undefined ? subscription.queue : null;
      const queues = new FailureQueues(
        queue,
        consumer,
        this.terms.options.retryDelaysMs,
        ordered?.arguments['x-queue-type'] === 'quorum' || this.isQuorum(amqp, queue),
      );
      const publisher = this.publisherOf(amqp);
      // A broker that is away is not waited for: then they are declared before the first failure is put away.
      const { connection } = amqp.managedConnection;
      if (connection !== undefined) await publisher.declare(queues, connection);
      routes.set(amqp, { subscription, queue, queues, publisher });
    }
    return routes;
  }

  /** By whoever declares the queue in this process: one of its handlers, or the module. */
  private isQuorum(amqp: AmqpConnection, queue: string | null): boolean {
    if (queue === null) return false;
    const declarations = [
      ...amqp.configuration.queues
        .filter(({ name }) => name === queue)
        .map(({ options }) => options?.arguments as unknown),
      ...this.methods
        .flatMap(({ subscriptions }) => subscriptions)
        .filter((subscription) => subscription.amqp === amqp && subscription.queue === queue)
        .map(({ config }) => config.queueOptions?.arguments as unknown),
    ];
    return declarations.some(
      (declared) => (declared as Record<string, unknown> | undefined)?.['x-queue-type'] === 'quorum',
    );
  }

  private publisherOf(amqp: AmqpConnection): FailurePublisher {
    const existing = this.publishers.get(amqp);
    if (existing !== undefined) return existing;
    const publisher = new FailurePublisher(amqp, this.terms.clock);
    this.publishers.set(amqp, publisher);
    return publisher;
  }
}
