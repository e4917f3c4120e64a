import type { ConsumedMessage } from '../core/idempotency.port';

/** Headers that a message carries through its retries. */
export const FAILURE_HEADERS = {
  /** Failures so far. */
  attempts: 'x-outbox-attempts',
  /** How often it was put off for a reason that was not its own. */
  waits: 'x-outbox-waits',
  /** The last failure, in one line. */
  error: 'x-outbox-error',
  /** Where it was published to first: through a retry queue it comes back by the default exchange. */
  exchange: 'x-outbox-exchange',
  routingKey: 'x-outbox-routing-key',
  queue: 'x-outbox-queue',
  consumer: 'x-outbox-consumer',
  userId: 'x-outbox-user-id',
  /** When it was given up, as an ISO date; only in the dead-letter queue. */
  diedAt: 'x-outbox-died-at',
  /** Tells one copy from another, for the broker's answers. */
  copy: 'x-outbox-copy',
} as const;

/** Handlers that look at the routing key are to see, on a retry, what they saw the first time. */
export function restoreOrigin(message: ConsumedMessage | undefined): void {
  const headers = message?.properties?.headers;
  const exchange = headers?.[FAILURE_HEADERS.exchange];
  const routingKey = headers?.[FAILURE_HEADERS.routingKey];
  if (typeof exchange !== 'string' || typeof routingKey !== 'string') return;
  Object.assign((message as ConsumedMessage).fields, { exchange, routingKey });
}
