import type { SendOutcome } from '../../core/transport.port';
import type { Flight } from './flights';
import type { ChannelError } from './publish-channel';
import type { UnroutablePolicy } from './rabbitmq.options';

const NOT_FOUND = 404;
const INTERNAL_ERROR = 541;

/** What is to become of a message that RabbitMQ gave back because no queue is bound for it. */
export function returnedOutcome(
  policy: UnroutablePolicy,
  destination: string,
  replyText: string,
): SendOutcome {
  if (policy === 'accept') return { kind: 'confirmed' };
  const error =
    `No queue is bound for it at ${destination} (${replyText}). Start its consumer, or bind a queue; where nobody needs ` +
    `to listen, set rabbitMq.unroutable to 'accept' for its type`;
  return { kind: 'refused', error, retry: policy === 'retry' };
}

/** The broker's words, with the way out where one is known. */
export function brokerRefusal(text: string): string {
  return /no exchange '/.test(text)
    ? `${text}. Declare the exchange: in RabbitMQModule's exchanges, or by rabbitMq.declareExchange`
    : text;
}

/** Whether a connection was closed for what it was given, and not because a node stops or has a fault of its own. */
export function isMessageFault(code: number | null): boolean {
  return code !== null && code >= 500 && code !== INTERNAL_ERROR;
}

export interface Culprits {
  readonly flights: readonly Flight[];
  /** They are known by the broker's words, and not because they were alone. */
  readonly named: boolean;
}

/** For which messages a channel was closed: empty when it cannot be told yet. */
export function culpritsOf(unconfirmed: readonly Flight[], error: ChannelError, window: number): Culprits {
  const missing =
    error.code === NOT_FOUND ? /no exchange '(.*)' in vhost/.exec(error.message)?.[1] : undefined;
  if (missing !== undefined) {
    const flights = unconfirmed.filter((flight) => flight.publication.exchange === missing);
    if (flights.length > 0) return { flights, named: true };
  }
  return { flights: window === 1 && unconfirmed.length === 1 ? unconfirmed : [], named: false };
}
