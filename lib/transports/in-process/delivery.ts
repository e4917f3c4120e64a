import { envelopeOf } from '../../core/envelope';
import type { ClaimedMessage } from '../../core/message';
import type { SendOutcome } from '../../core/transport.port';

export type Settle = (message: ClaimedMessage, outcome: SendOutcome) => void;

/** What one consumer made of a message. */
export type ConsumerResult =
  | { readonly kind: 'finished' }
  | { readonly kind: 'failed'; readonly error: string; readonly retry: boolean }
  /** It was never begun. */
  | { readonly kind: 'skipped' };

/** One message on its way through all the queues that are bound for it. */
export class Delivery {
  settled = false;
  private readonly awaited = new Set<string>();
  private readonly results = new Map<string, ConsumerResult>();

  constructor(
    readonly message: ClaimedMessage,
    /** Where it was sent to; `*` for all exchanges. */
    readonly exchange: string,
    readonly routingKey: string,
    private readonly settleWith: Settle,
    private readonly concluded: (delivery: Delivery, results: ReadonlyMap<string, ConsumerResult>) => void,
  ) {}

  await(queues: readonly string[]): void {
    for (const queue of queues) this.awaited.add(queue);
  }

  /** A queue's consumer is through with it. The second word of the same queue is ignored. */
  done(queue: string, result: ConsumerResult): void {
    if (!this.awaited.delete(queue)) return;
    this.results.set(queue, result);
    if (this.awaited.size === 0 && !this.settled) this.concluded(this, this.results);
  }

  settle(outcome: SendOutcome): void {
    if (this.settled) return;
    this.settled = true;
    this.settleWith(this.message, outcome);
  }
}

/** What lies in a queue: a message, and the exchange that it came through. */
export interface Parcel {
  readonly delivery: Delivery;
  readonly exchange: string;
}

/** A message in the shape of amqplib's ConsumeMessage: what handlers, guards, pipes and interceptors know. */
export interface DeliveredMessage {
  readonly content: Buffer;
  readonly fields: {
    readonly deliveryTag: number;
    readonly redelivered: boolean;
    readonly exchange: string;
    readonly routingKey: string;
    readonly consumerTag: string;
  };
  readonly properties: Readonly<Record<string, unknown>> & { readonly headers: Record<string, string> };
}

let deliveryTag = 0;

/** A copy of its own for each consumer: one that changes its message must not change another's. */
export function deliveredMessage({ delivery, exchange }: Parcel, consumerTag: string): DeliveredMessage {
  const { message, routingKey } = delivery;
  const { headers, ...properties } = envelopeOf(message);
  return {
    content: message.payload,
    fields: {
      deliveryTag: (deliveryTag += 1),
      redelivered: message.attempts > 0 || message.claims > 1,
      exchange,
      routingKey,
      consumerTag,
    },
    properties: {
      ...properties,
      headers,
      deliveryMode: 2,
      priority: undefined,
      correlationId: undefined,
      replyTo: undefined,
      expiration: undefined,
      userId: undefined,
      clusterId: undefined,
    },
  };
}
