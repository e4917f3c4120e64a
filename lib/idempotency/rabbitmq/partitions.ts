import { OutboxConfigurationError } from '../../core/errors';
import {
  checkedOrderedQueue,
  declareOrderedQueues,
  type OrderedQueue,
  partitionArguments,
  partitionName,
} from '../../core/ordered-queue';
import type { ChannelModel } from 'amqplib';
import type { IdempotentMethod } from '../discovery';
import type { AmqpConnection, RabbitHandlerConfig } from './golevelup';

/** The queue of an `@Idempotent({ ordered: { partitions } })` handler; null for any other. */
export function orderedQueueOf(
  { name, marker }: IdempotentMethod,
  config: RabbitHandlerConfig,
): OrderedQueue | null {
  const { ordered } = marker.options;
  if (typeof ordered !== 'object') return null;
  const option = `@Idempotent({ ordered: { partitions } }) on ${name}`;
  if (config.errorHandler !== undefined) {
    throw new OutboxConfigurationError(
      option,
      'has an errorHandler of its own, which would not try again in place. Leave it out.',
    );
  }
  const { queue = '', exchange, routingKey, bindings = [], queueOptions } = config;
  const own =
    exchange === undefined ? [] : [routingKey ?? []].flat().map((key) => ({ exchange, routingKey: key }));
  return checkedOrderedQueue(option, {
    name: queue,
    partitions: ordered.partitions,
    spread: ordered.spread ?? 'slots',
    bindings: [...own, ...bindings],
    arguments: (queueOptions?.arguments ?? {}) as Record<string, unknown>,
  });
}

/** What golevelup is to consume: each partition, bound to nothing but what `declareOrderedQueues()` binds. */
export function partitionConfigs(queue: OrderedQueue, config: RabbitHandlerConfig): RabbitHandlerConfig[] {
  const queueOptions = { ...config.queueOptions, durable: true, arguments: partitionArguments(queue) };
  return Array.from({ length: queue.partitions }, (_, index) => ({
    ...config,
    exchange: undefined,
    routingKey: undefined,
    bindings: undefined,
    queue: partitionName(queue, index),
    queueOptions,
  }));
}

/**
 * Declares it now, where the broker is there, and at each connection. golevelup itself does the same with its exchanges and
 * queues, and reports what is refused.
 * @throws OutboxConfigurationError that names the remedy.
 */
export async function keepDeclared(amqp: AmqpConnection, queue: OrderedQueue): Promise<void> {
  let refused = false;
  await amqp.managedChannel.addSetup(async () => {
    if (refused) {
      refused = false;
      return;
    }
    const connection = amqp.managedConnection.connection as unknown as ChannelModel;
    const [failure] = await declareOrderedQueues(connection, [queue]);
    if (failure === undefined) return;
    // It has cost this connection, and must not cost each one: what is declared already can be consumed.
    refused = failure.kind === 'unknownType';
    throw failure.error;
  });
}

/**
 * Has golevelup register the handler once for each configuration: it knows lists of them by a name alone.
 * @returns that name, for what stands in `@RabbitSubscribe`.
 */
export function registerPartitions(
  methodName: string,
  connections: readonly AmqpConnection[],
  configsOn: (amqp: AmqpConnection) => RabbitHandlerConfig[],
): string {
  const name = `nestjs-outbox: ${methodName}`;
  for (const amqp of connections) {
    const { configuration } = amqp;
    // A new object: the old one is the user's, or golevelup's default for all connections.
    configuration.handlers = { ...configuration.handlers, [name]: configsOn(amqp) };
  }
  return name;
}
