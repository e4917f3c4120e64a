import { type ConsumerResult, type Parcel, deliveredMessage } from './delivery';
import type { Runner } from './runner';
import { readPayload } from './payload';
import type { Subscription } from './subscriptions';

/** What takes messages of one queue. `release` is to be called once a message, when its place in the queue is free again. */
export interface QueueConsumer {
  accept(parcel: Parcel, release: () => void): void;
}

/** One message at a call. Those of one key go one after the other, the others as the queue's prefetch allows. */
export class SingleConsumer implements QueueConsumer {
  /** The last message of each key that is being handled. */
  private readonly tails = new Map<string, Promise<void>>();

  constructor(
    private readonly subscription: Subscription,
    private readonly runner: Runner,
  ) {}

  accept(parcel: Parcel, release: () => void): void {
    const { key } = parcel.delivery.message;
    const before = key === null ? undefined : this.tails.get(key);
    const work = (before ?? Promise.resolve()).then(() => this.handle(parcel)).then(release);
    if (key === null) return;
    this.tails.set(key, work);
    void work.then(() => this.tails.get(key) === work && this.tails.delete(key));
  }

  private async handle(parcel: Parcel): Promise<void> {
    parcel.delivery.done(this.subscription.queue, await this.result(parcel));
  }

  private result(parcel: Parcel): Promise<ConsumerResult> | ConsumerResult {
    const raw = deliveredMessage(parcel, this.subscription.name);
    const read = readPayload(this.runner.settings, this.subscription, raw);
    return 'kind' in read
      ? read
      : this.runner.run(this.subscription, [parcel.delivery], read.payload, raw, raw.properties.headers);
  }
}
