import { Logger } from '@nestjs/common';
import type { Channel, ConsumeMessage } from 'amqplib';

import { describeError } from '../../core/errors';

const closedChannels = new WeakSet<Channel>();
const watchedChannels = new WeakSet<Channel>();

/** One message in hand, on the channel that delivered it. When that is closed, the broker delivers the message again. */
export class AmqpDelivery {
  constructor(
    readonly channel: Channel,
    readonly message: ConsumeMessage,
  ) {
    if (watchedChannels.has(channel)) return;
    watchedChannels.add(channel);
    channel.once('close', () => closedChannels.add(channel));
  }

  /** Whether nobody waits any more for what becomes of it here. */
  get isOver(): boolean {
    return closedChannels.has(this.channel);
  }

  ack(): void {
    this.answer(() => {
      this.channel.ack(this.message);
    });
  }

  /** Hands it back, to be delivered again at once: only after a pause. */
  requeue(): void {
    this.answer(() => {
      this.channel.nack(this.message, false, true);
    });
  }

  /** On a closed channel these throw, and nothing is lost by it. */
  private answer(send: () => void): void {
    try {
      send();
    } catch (error) {
      new Logger('Idempotent').debug(`A delivery was not answered, it comes again: ${describeError(error)}`);
    }
  }
}
