import { InvalidMessageError } from '../../core/errors';

/** AMQP's limit for the names of exchanges and for routing keys. */
export const SHORT_STRING_BYTES_MAX = 255;

/** Where a message goes: `exchange`, or `exchange/routing.key`. Without a routing key, the type is the key. */
export interface Destination {
  readonly exchange: string;
  readonly routingKey: string;
}

export function parseDestination(destination: string, type: string): Destination {
  const slash = destination.indexOf('/');
  if (slash < 0) return { exchange: destination, routingKey: type };
  return { exchange: destination.slice(0, slash), routingKey: destination.slice(slash + 1) };
}

export function exchangeOf(destination: string): string {
  const slash = destination.indexOf('/');
  return slash < 0 ? destination : destination.slice(0, slash);
}

/** Refuses, inside the publisher's transaction, what RabbitMQ could never take. */
export function checkDestination(destination: string, type: string): void {
  const { exchange, routingKey } = parseDestination(destination, type);
  checkShortString(type, 'exchange', exchange);
  checkShortString(type, 'routing key', routingKey);
  if (exchange === '' && routingKey === '') {
    throw new InvalidMessageError(
      type,
      'destination',
      "is empty. Give 'exchange', 'exchange/routing.key' or '/queue'.",
    );
  }
}

function checkShortString(type: string, what: string, value: string): void {
  // A UTF-16 unit is three bytes at most: most values need no count.
  if (value.length * 3 <= SHORT_STRING_BYTES_MAX) return;
  const bytes = Buffer.byteLength(value);
  if (bytes <= SHORT_STRING_BYTES_MAX) return;
  const reason = `has a ${what} of ${bytes} bytes; RabbitMQ takes ${SHORT_STRING_BYTES_MAX} at most. Shorten it.`;
  throw new InvalidMessageError(type, 'destination', reason);
}
