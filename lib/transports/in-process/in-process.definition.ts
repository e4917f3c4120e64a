import { InvalidMessageError } from '../../core/errors';
import type { TransportDefinition } from '../../core/transport.port';
import { applicationSettings } from './application-settings';
import { type InProcessOptions, resolveInProcessOptions } from './in-process.options';
import { InProcessTransport } from './in-process.transport';

/**
 * Delivers messages to the `@RabbitSubscribe` handlers of this same process, through the same guards, pipes, interceptors
 * and filters, with no broker at all. A message is confirmed when every handler bound to it has finished; one that failed
 * is retried by the outbox, without running those again that have finished.
 *
 * Destinations read as with RabbitMQ: `exchange`, `exchange/routing.key`, `/queue`. RabbitMQModule need not be imported;
 * where it is, its handlers get what comes from RabbitMQ besides, and nothing twice, because no message goes both ways.
 *
 * @throws OutboxConfigurationError for options that cannot work.
 */
export function inProcess(options: InProcessOptions = {}): TransportDefinition {
  const resolved = resolveInProcessOptions(options);
  return {
    kind: 'in-process',
    destinationOf(type, requested) {
      const destination = requested ?? resolved.exchange;
      if (destination === '') {
        throw new InvalidMessageError(
          type,
          'destination',
          "is empty. Give 'exchange', 'exchange/routing.key' or '/queue'.",
        );
      }
      return destination;
    },
    orderScopeOf(destination) {
      const slash = destination.indexOf('/');
      return slash < 0 ? destination : destination.slice(0, slash);
    },
    create: (context) => new InProcessTransport(applicationSettings(resolved, context), context),
  };
}
