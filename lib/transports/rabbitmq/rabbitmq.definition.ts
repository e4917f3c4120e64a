import type { TransportDefinition } from '../../core/transport.port';
import { brokerSettings } from './broker-settings';
import { checkDestination, exchangeOf } from './destination';
import { type RabbitMqOptions, resolveRabbitMqOptions } from './rabbitmq.options';
import { RabbitMqTransport } from './rabbitmq.transport';

/**
 * Sends messages to RabbitMQ, over a connection of its own, with the address and options of RabbitMQModule of
 * `@golevelup/nestjs-rabbitmq`, or to a `uri`.
 *
 * A destination is `exchange`, or `exchange/routing.key`; the routing key defaults to the message's type. Messages of one
 * key keep their order within an exchange.
 *
 * @throws OutboxConfigurationError for options that cannot work.
 */
export function rabbitMq(options: RabbitMqOptions): TransportDefinition {
  const resolved = resolveRabbitMqOptions(options);
  return {
    kind: 'rabbitmq',
    destinationOf(type, requested) {
      const destination = requested ?? resolved.exchange;
      checkDestination(destination, type);
      return destination;
    },
    orderScopeOf: exchangeOf,
    create: (context) => new RabbitMqTransport(resolved, brokerSettings(resolved, context), context),
  };
}
