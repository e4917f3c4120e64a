import type { PartitionSpread } from './ordered-queue';
import type { IsolationLevel } from './transactions.port';

/** A message as a consumer is given it, by a broker or in process: what amqplib calls a ConsumeMessage. */
export interface ConsumedMessage {
  readonly content: Buffer;
  readonly fields: {
    readonly exchange: string;
    readonly routingKey: string;
    readonly redelivered: boolean;
    readonly deliveryTag: number;
  };
  readonly properties: {
    readonly messageId?: string;
    readonly type?: string;
    readonly correlationId?: string;
    readonly headers?: Readonly<Record<string, unknown>>;
  };
}

/** Options of `@Idempotent()`. */
export interface IdempotentOptions {
  /**
   * What identifies the message at this consumer, when it is not the message's id. At most 255 bytes of UTF-8, compared
   * by bytes. Called again on every delivery, before the transaction, with what the consumer received.
   * @default the message id
   */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- payloads are the application's own
  readonly key?: (payload: any, message: ConsumedMessage) => string;
  /** The consumer's name in the inbox, at most 255 bytes. Needed where the queue has no fixed name. @default the queue's name */
  readonly consumer?: string;
  /** The data source's name, as in `@nestjs/typeorm`. @default 'default' */
  readonly dataSource?: string;
  /** The isolation of the handler's transaction. @default the data source's */
  readonly isolation?: IsolationLevel;
  /**
   * A message that fails is tried again in its place, and no later one overtakes it. Needs a channel with a prefetch of 1,
   * and `x-single-active-consumer` on the queue where several instances consume it.
   *
   * With `{ partitions }`, from 1 to 64, the queue is declared in so many parts, each with a single active consumer, and
   * messages of one key go through one of them: so keys keep their order, and different ones are handled side by side.
   * `spread` (`'slots'`) says how partitions are found.
   * @default false
   */
  readonly ordered?: boolean | { readonly partitions: number; readonly spread?: PartitionSpread };
}

/** One `@Idempotent` method. The object itself is its identity. */
export interface IdempotentMarker {
  /** `CartHandlers.onOrderPlaced`, for messages and logs. */
  readonly method: string;
  readonly dataSource: string;
  readonly options: IdempotentOptions;
}

/** Metadata of a method whose `@RabbitSubscribe` was rewritten for a broker: what the application wrote. */
export const SUBSCRIPTION_METADATA = 'nestjs-outbox:subscription';

/** Metadata of a decorated method: its `IdempotentMarker`. */
export const IDEMPOTENT_METADATA = 'nestjs-outbox:idempotent';

/**
 * Runs `@Idempotent` handlers.
 *
 * Concurrency contract: any number of calls at once. Resolves when the effect is committed, now or by an earlier
 * delivery: then the message may be acknowledged. Rejects when nothing of it is committed, except for a batch, where
 * messages that could not be taken up (no key) do not hold the others back: `tell` of each message what became of it.
 */
export interface IdempotentHandling {
  /**
   * The one instance of the handler, where nothing of Nest's stands between `@Idempotent` and the method, so that it may be
   * called directly; else null. Nest's own way there costs as much as the rest of a message in this process.
   */
  instanceOf(marker: IdempotentMarker): object | null;

  /**
   * @param args what the handler was called with: payload, message, headers; or three arrays of them.
   * @param proceed runs the handler itself; may be called again.
   */
  handle(marker: IdempotentMarker, args: readonly unknown[], proceed: () => Promise<unknown>): Promise<void>;
}
