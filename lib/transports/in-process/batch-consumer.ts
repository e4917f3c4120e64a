import type { CancelTimer, Clock } from '../../core/clock';
import { type ConsumerResult, type DeliveredMessage, type Parcel, deliveredMessage } from './delivery';
import { readPayload } from './payload';
import type { Runner } from './runner';
import type { QueueConsumer } from './single-consumer';
import type { Subscription } from './subscriptions';

const SIZE = 10;
const TIMEOUT_MS = 200;

interface Waiting {
  readonly parcel: Parcel;
  readonly release: () => void;
}

interface Readable extends Waiting {
  readonly raw: DeliveredMessage;
  readonly payload: unknown;
}

/**
 * Many messages at a call, by golevelup's `batchOptions`: a batch is full at `size`, or `timeout` milliseconds after its
 * last message. Batches of one queue go one after the other, so messages of one key keep their order.
 *
 * When a batch fails, its messages go again at once, one at a time: otherwise one that cannot be handled would take the
 * others with it at each retry, and to the dead letters at last.
 */
export class BatchConsumer implements QueueConsumer {
  private readonly size: number;
  private readonly timeoutMs: number;
  private batch: Waiting[] = [];
  private cancelTimer: CancelTimer | null = null;
  private tail: Promise<void> = Promise.resolve();

  constructor(
    private readonly subscription: Subscription,
    private readonly runner: Runner,
    private readonly clock: Clock,
  ) {
    const { size, timeout } = subscription.config.batchOptions ?? { size: SIZE };
    this.size = size >= 2 ? size : SIZE;
    this.timeoutMs = timeout !== undefined && timeout >= 1 ? timeout : TIMEOUT_MS;
  }

  accept(parcel: Parcel, release: () => void): void {
    this.batch.push({ parcel, release });
    this.cancelTimer?.();
    this.cancelTimer = null;
    if (this.batch.length >= this.size) this.flush();
    else
      this.cancelTimer = this.clock.after(this.timeoutMs, () => {
        this.flush();
      });
  }

  private flush(): void {
    const batch = this.batch;
    this.batch = [];
    this.cancelTimer = null;
    this.tail = this.tail
      .then(() => this.handle(batch))
      .then(() => {
        for (const { release } of batch) release();
      });
  }

  private async handle(batch: readonly Waiting[]): Promise<void> {
    const readable: Readable[] = [];
    for (const waiting of batch) {
      const raw = deliveredMessage(waiting.parcel, this.subscription.name);
      const read = readPayload(this.runner.settings, this.subscription, raw);
      if ('kind' in read) waiting.parcel.delivery.done(this.subscription.queue, read);
      else readable.push({ ...waiting, raw, payload: read.payload });
    }
    if (readable.length === 0) return;
    const result = await this.run(readable);
    if (result.kind !== 'failed' || readable.length === 1) {
      this.done(readable, result);
      return;
    }
    for (const one of readable) this.done([one], await this.run([one]));
  }

  private run(messages: readonly Readable[]): Promise<ConsumerResult> {
    return this.runner.run(
      this.subscription,
      messages.map(({ parcel }) => parcel.delivery),
      messages.map(({ payload }) => payload),
      messages.map(({ raw }) => raw),
      messages.map(({ raw }) => raw.properties.headers),
    );
  }

  private done(messages: readonly Readable[], result: ConsumerResult): void {
    for (const { parcel } of messages) parcel.delivery.done(this.subscription.queue, result);
  }
}
