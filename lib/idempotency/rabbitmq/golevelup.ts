import type * as Golevelup from '@golevelup/nestjs-rabbitmq';

import { loadPeer } from '../../core/optional-peer';

export type { AmqpConnection, MessageHandlerOptions, RabbitHandlerConfig } from '@golevelup/nestjs-rabbitmq';

/** What a consumer was registered with. golevelup keeps it to itself. */
export function optionsOfConsumer(
  amqp: Golevelup.AmqpConnection,
  consumerTag: string,
): Golevelup.MessageHandlerOptions | undefined {
  const { _consumers: consumers } = amqp as unknown as {
    _consumers?: Record<string, { msgOptions: Golevelup.MessageHandlerOptions } | undefined>;
  };
  return consumers?.[consumerTag]?.msgOptions;
}

/** Loaded when the first handler is found: an application without any needs no such package. */
export function golevelup(): typeof Golevelup {
  return loadPeer<typeof Golevelup>(
    '@golevelup/nestjs-rabbitmq',
    '@Idempotent() on @RabbitSubscribe() handlers',
  );
}
