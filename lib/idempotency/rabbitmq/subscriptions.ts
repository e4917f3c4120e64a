import { Logger } from '@nestjs/common';

import { OutboxConfigurationError } from '../../core/errors';
import { SUBSCRIPTION_METADATA } from '../../core/idempotency.port';
import type { OrderedQueue } from '../../core/ordered-queue';
import type { ConsumedQueue } from '../consumer-names';
import type { IdempotentMethod } from '../discovery';
import { type AmqpConnection, golevelup, type RabbitHandlerConfig } from './golevelup';
import { orderedQueueOf, partitionConfigs } from './partitions';

/** One binding of a handler to a queue, as golevelup will make it. */
export interface Subscription extends ConsumedQueue {
  readonly amqp: AmqpConnection | null;
  /** What stands in `@RabbitSubscribe`, with the module's own configuration of that handler laid over it. */
  readonly config: RabbitHandlerConfig;
}

/** A handler and its `@RabbitSubscribe`, as the application wrote it. */
export interface SubscribedMethod extends IdempotentMethod {
  readonly declared: RabbitHandlerConfig;
  readonly subscriptions: readonly Subscription[];
  /** The queues of its subscriptions; one in partitions is one. */
  readonly queues: readonly ConsumedQueue[];
  /** Those of them that are in partitions, each of which has a subscription. */
  readonly orderedQueues: readonly { readonly amqp: AmqpConnection; readonly queue: OrderedQueue }[];
}

/**
 * What stood in each method's `@RabbitSubscribe` before this library put its own in its place: an application that is made
 * a second time in one process must not take the first one's for the user's.
 */
const declaredConfigs = new WeakMap<object, RabbitHandlerConfig>();

/** @throws OutboxConfigurationError when it is no `@RabbitSubscribe` handler. */
export function subscribed(
  method: IdempotentMethod,
  connections: readonly AmqpConnection[],
): SubscribedMethod {
  const declared = declaredConfigs.get(method.handler) ?? metadataOf(method);
  declaredConfigs.set(method.handler, declared);
  const subscriptions =
    connections.length === 0
      ? [{ amqp: null, connection: null, queue: declared.queue || null, config: declared }]
      : connections.flatMap((amqp) => subscriptionsOn(amqp, declared));
  refuseNonSingleton(method, connections);
  subscriptions.forEach((subscription) => {
    refuseUnordered(method, subscription);
  });
  // A method that no connection of this process consumes still has the name that it declares.
  const queues =
    subscriptions.length > 0 ? subscriptions : [{ connection: null, queue: declared.queue || null }];
  const partitioned = subscriptions.map((subscription) => ({
    subscription,
    queue: subscription.amqp === null ? null : orderedQueueOf(method, subscription.config),
  }));
  return {
    ...method,
    declared,
    queues,
    subscriptions: partitioned.flatMap(({ subscription, queue }) =>
      queue === null
        ? subscription
        : partitionConfigs(queue, subscription.config).map((config) => ({
            ...subscription,
            queue: config.queue ?? null,
            config,
          })),
    ),
    orderedQueues: partitioned.flatMap(({ subscription: { amqp }, queue }) =>
      queue === null || amqp === null ? [] : { amqp, queue },
    ),
  };
}

/** Puts another configuration in the place of what stands in `@RabbitSubscribe`; golevelup reads it when it binds. */
export function replaceDeclared(method: SubscribedMethod, config: RabbitHandlerConfig): void {
  Reflect.defineMetadata(golevelup().RABBIT_HANDLER, config, method.handler);
  Reflect.defineMetadata(SUBSCRIPTION_METADATA, method.declared, method.handler);
}

/** Puts back what the application wrote, if ours still stands there. */
export function restoreDeclared(method: SubscribedMethod, ours: RabbitHandlerConfig): void {
  const { RABBIT_HANDLER } = golevelup();
  if (Reflect.getMetadata(RABBIT_HANDLER, method.handler) !== ours) return;
  Reflect.defineMetadata(RABBIT_HANDLER, method.declared, method.handler);
}

function metadataOf({ handler, name }: IdempotentMethod): RabbitHandlerConfig {
  const config = Reflect.getMetadata(golevelup().RABBIT_HANDLER, handler) as RabbitHandlerConfig | undefined;
  if (config?.type === 'subscribe') return config;
  throw new OutboxConfigurationError(
    `@Idempotent on ${name}`,
    config === undefined
      ? 'stands on a method that receives no messages. Put @RabbitSubscribe({ … }) next to it.'
      : 'stands on an RPC handler: a duplicate would have no answer. Put it on @RabbitSubscribe handlers.',
  );
}

/** As golevelup does: `name` (or the connection's `defaultHandler`) looks up one configuration, or several, of the module's. */
function subscriptionsOn(amqp: AmqpConnection, declared: RabbitHandlerConfig): Subscription[] {
  const { configuration } = amqp;
  if (!configuration.registerHandlers) return [];
  if (declared.connection !== undefined && declared.connection !== configuration.name) return [];
  const lookupKey = declared.name || configuration.defaultHandler;
  const overlays = lookupKey ? [configuration.handlers[lookupKey] ?? []].flat() : [{}];
  return overlays.map((overlay) => {
    const config = { ...declared, ...overlay };
    return { amqp, connection: configuration.name, queue: config.queue || null, config };
  });
}

function refuseNonSingleton(
  { name, isSingleton }: IdempotentMethod,
  connections: readonly AmqpConnection[],
): void {
  if (isSingleton || connections.length === 0) return;
  throw new OutboxConfigurationError(
    `@Idempotent on ${name}`,
    'stands in a request-scoped class, and @golevelup/nestjs-rabbitmq hands no messages to those. Make the class a ' +
      'singleton, and take what is request-scoped from ModuleRef.resolve() inside the handler.',
  );
}

/** With more than one message in hand, a later one would be handled while an earlier one waits for its retry. */
function refuseUnordered({ name, marker }: IdempotentMethod, { amqp, config }: Subscription): void {
  if (!marker.options.ordered || amqp === null) return;
  if (config.batchOptions !== undefined) {
    throw new OutboxConfigurationError(
      `@Idempotent({ ordered: true }) on ${name}`,
      'cannot keep the order of a batch, whose messages are tried again one by one. Leave out batchOptions or ordered.',
    );
  }
  const prefetch = prefetchOf(amqp, config.queueOptions?.channel);
  if (prefetch !== 1) {
    throw new OutboxConfigurationError(
      `@Idempotent({ ordered: true }) on ${name}`,
      `needs a channel that hands out one message at a time, and its channel's prefetch is ${prefetch}. Give it one: ` +
        `RabbitMQModule.forRoot({ channels: { ordered: { prefetchCount: 1 } }, … }) and ` +
        `@RabbitSubscribe({ queueOptions: { channel: 'ordered' }, … }).`,
    );
  }
  const queueArguments = config.queueOptions?.arguments as Record<string, unknown> | undefined;
  if (marker.options.ordered === true && queueArguments?.['x-single-active-consumer'] !== true) {
    new Logger('Idempotent').warn(
      `${name} is ordered within one instance only: its queue is declared without x-single-active-consumer`,
    );
  }
}

function prefetchOf({ configuration }: AmqpConnection, channelName: string | undefined): number {
  const { channels, prefetchCount } = configuration;
  const named = channelName === undefined ? undefined : channels[channelName];
  const chosen = named ?? Object.values(channels).find((channel) => channel.default);
  return chosen?.prefetchCount || prefetchCount;
}
