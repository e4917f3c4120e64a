import { OutboxConfigurationError } from '../core/errors';
import type { IdempotentMarker } from '../core/idempotency.port';

/** Where a handler's messages come from. */
export interface ConsumedQueue {
  /** The broker connection's name; null where there is no broker in this process. */
  readonly connection: string | null;
  /** Null where the broker gives the queue a name at each start. */
  readonly queue: string | null;
}

/** One handler, as far as its name in the inbox is concerned. */
export interface NamedHandler {
  readonly marker: IdempotentMarker;
  /** `CartHandlers.onOrderPlaced`. */
  readonly name: string;
  readonly queues: readonly ConsumedQueue[];
}

const CONSUMER_SIZE_MAX_BYTES = 255;

/**
 * Gives each handler its name in the inbox: the one it was given, or its queue's. It must be the same at every start and
 * in every instance, or what was handled once is handled again.
 *
 * The inbox belongs to a queue, not to a method. Several handlers on one queue compete for its messages, and a message
 * that one of them was handling may be redelivered to another: so they share a name. Handlers of different queues each
 * get a copy of their own of an event: so they must not share one, or only the first would take effect.
 * @throws OutboxConfigurationError that names the handlers.
 */
export function consumerNames(handlers: readonly NamedHandler[]): Map<IdempotentMarker, string> {
  const names = new Map<IdempotentMarker, string>();
  for (const handler of handlers) names.set(handler.marker, consumerNameOf(handler));
  for (const [position, one] of handlers.entries()) {
    for (const other of handlers.slice(position + 1)) refuseConflict(one, other, names);
  }
  return names;
}

function consumerNameOf({ marker, name, queues }: NamedHandler): string {
  const distinct = new Set(queues.map(({ queue }) => queue));
  const [queue] = distinct;
  const consumer = marker.options.consumer ?? (distinct.size === 1 ? queue : null);
  if (consumer === undefined || consumer === null || consumer === '') {
    throw new OutboxConfigurationError(
      `@Idempotent on ${name}`,
      `has no name for its inbox, because ${distinct.size > 1 ? 'it consumes several queues' : 'its queue has no fixed name'}. ` +
        `Name the queue: @RabbitSubscribe({ queue: 'cart.order-placed', … }); or the consumer: ` +
        `@Idempotent({ consumer: 'cart.order-placed' }). It must stay the same for ever.`,
    );
  }
  const sizeBytes = Buffer.byteLength(consumer);
  if (sizeBytes <= CONSUMER_SIZE_MAX_BYTES) return consumer;
  throw new OutboxConfigurationError(
    `@Idempotent on ${name}`,
    `has a consumer name of ${sizeBytes} bytes, and the inbox keeps ${CONSUMER_SIZE_MAX_BYTES}: ${consumer}. ` +
      `Give a shorter one: @Idempotent({ consumer: '…' }).`,
  );
}

function refuseConflict(one: NamedHandler, other: NamedHandler, names: Map<IdempotentMarker, string>): void {
  const sameInbox =
    names.get(one.marker) === names.get(other.marker) && one.marker.dataSource === other.marker.dataSource;
  if (shareQueue(one, other)) {
    if (sameInbox) return;
    throw new OutboxConfigurationError(
      `@Idempotent on ${one.name} and ${other.name}`,
      `consume the same queue under different names or data sources: a message that one of them has handled may be ` +
        `redelivered to the other, which would not know. Give both the same consumer and dataSource, or a queue each.`,
    );
  }
  if (!sameInbox) return;
  throw new OutboxConfigurationError(
    `@Idempotent on ${one.name} and ${other.name}`,
    `have the same consumer name, ${names.get(one.marker)}, and different queues: of an event that reaches both, only ` +
      `the first would take effect. Give each a name of its own: @Idempotent({ consumer: '…' }).`,
  );
}

function shareQueue(one: NamedHandler, other: NamedHandler): boolean {
  return one.queues.some((a) =>
    other.queues.some((b) => a.queue !== null && a.queue === b.queue && a.connection === b.connection),
  );
}
