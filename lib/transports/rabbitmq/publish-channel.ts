import type { ChannelModel, ConfirmChannel, Message } from 'amqplib';
import type { Flight } from './flights';

/** The answer to a publish, or the end of the channel. All are called synchronously. */
export interface PublishListener {
  confirmed(flight: Flight): void;
  /** The broker gave it up itself: a queue that is full, or a node that failed. */
  nacked(flight: Flight): void;
  /** The buffers are empty again. */
  drained(): void;
  /** The broker closed this channel with a 4xx, and with it all that was unconfirmed, in the order in which it was sent. */
  broken(unconfirmed: readonly Flight[], error: ChannelError, flushed: Promise<void> | null): void;
}

/**
 * - `unwritten`: it was not written to this channel.
 * - `written`: it may still be in buffers of ours.
 * - `read`: the broker has it: it answered a later question.
 * - `overtaken`: the broker has it, and has confirmed a message that was sent later.
 */
export type Whereabouts = 'unwritten' | 'written' | 'read' | 'overtaken';

export interface ChannelError extends Error {
  readonly code: number;
}

/**
 * One confirm channel of amqplib.
 *
 * Three traps of it are dealt with here. When a channel closes, amqplib calls the callback of every unconfirmed message
 * with an error that looks like a nack: so the end is noted before its own listener runs. And a `publish` that throws
 * has already queued its callback, and all later confirmations would go to the wrong message: such a channel is of no
 * use any more (`publications` are checked beforehand, so that it does not happen). And when the broker closes a channel,
 * its unwritten frames and our `close-ok` are still in a buffer of its own, while the next channel gets the same number
 * and a fresh buffer, which may be written first: the broker then closes the whole connection ("second 'channel.open'
 * seen"). So whoever opens the next one waits until this one is `flushed`.
 */
export class PublishChannel {
  /** Whether the buffers take more. */
  writable = true;
  private readonly unconfirmed = new Map<Flight, number>();
  private sequence = 0;
  private read = 0;
  private confirmedLast = 0;
  private ended = false;
  private muted = false;
  /** Resolves when the last frame of this channel was handed to the socket; null where amqplib does not let us see it. */
  private readonly flushed: Promise<void> | null;
  private error: ChannelError | null = null;

  private constructor(
    private readonly channel: ConfirmChannel,
    private readonly listener: PublishListener,
  ) {
    this.flushed = flushOf(channel);
    channel.prependListener('close', () => {
      this.ended = true;
    });
    channel.on('close', () => {
      // Without an error of its own, it ends because the whole connection does, and that is told elsewhere.
      if (this.error !== null && !this.muted)
        this.listener.broken([...this.unconfirmed.keys()], this.error, this.flushed);
    });
    channel.on('error', (error: ChannelError) => {
      this.error = error;
    });
    channel.on('return', (message: Message) => {
      this.returned(message);
    });
    channel.on('drain', () => {
      this.writable = true;
      if (!this.ended && !this.muted) this.listener.drained();
    });
  }

  static async open(model: ChannelModel, listener: PublishListener): Promise<PublishChannel> {
    return new PublishChannel(await model.createConfirmChannel(), listener);
  }

  get unconfirmedCount(): number {
    return this.unconfirmed.size;
  }

  get unconfirmedFlights(): readonly Flight[] {
    return [...this.unconfirmed.keys()];
  }

  /** @throws what amqplib throws; then the channel must not be used any more. */
  publish(flight: Flight): void {
    const { exchange, routingKey, options } = flight.publication;
    const sequence = (this.sequence += 1);
    this.unconfirmed.set(flight, sequence);
    this.writable = this.channel.publish(
      exchange,
      routingKey,
      flight.message.payload,
      options,
      (error: unknown) => {
        if (this.ended || this.muted) return;
        if (sequence > this.confirmedLast) this.confirmedLast = sequence;
        if (!this.unconfirmed.delete(flight)) return;
        // `null` is an ack; amqplib's typings know `undefined` alone.
        if (error == null) this.listener.confirmed(flight);
        else this.listener.nacked(flight);
      },
    );
  }

  /** Its outcome is given: what the broker still says about it goes nowhere. */
  forget(flight: Flight): void {
    this.unconfirmed.delete(flight);
  }

  /** How far an unconfirmed message has come. */
  whereabouts(flight: Flight): Whereabouts {
    const sequence = this.unconfirmed.get(flight);
    if (sequence === undefined) return 'unwritten';
    if (this.confirmedLast > sequence) return 'overtaken';
    return this.read >= sequence ? 'read' : 'written';
  }

  /** A harmless question on this channel: its answer says that everything published before has been read. */
  async ask(): Promise<void> {
    const sequence = this.sequence;
    await this.channel.prefetch(0);
    this.read = Math.max(this.read, sequence);
  }

  /**
   * Publishes an empty message that no queue gets, and waits for its confirmation. A broker under alarm answers
   * questions, and blocks a connection only when it publishes: this finds out.
   */
  async canary(): Promise<void> {
    this.sequence += 1;
    await new Promise<void>((resolve, reject) => {
      this.channel.publish('', 'nestjs-outbox.nobody', Buffer.alloc(0), {}, (error: Error | null) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  /** Nothing of it is told any more: its connection was given up, and may still deliver what it had read. */
  mute(): void {
    this.muted = true;
  }

  /** Ends it, with nothing told to the listener. @returns when it is flushed. */
  abandon(): Promise<void> | null {
    this.mute();
    this.channel.close().catch(() => undefined);
    return this.flushed;
  }

  private returned(message: Message): void {
    const { replyText } = message.fields as unknown as { replyText: string };
    // It comes right before its confirmation, so it is one of the oldest.
    for (const flight of this.unconfirmed.keys()) {
      if (flight.message.id !== message.properties.messageId) continue;
      flight.returned = replyText;
      return;
    }
  }
}

/** amqplib has no public word for it: each channel has a stream of frames of its own, which ends after the last one. */
function flushOf(channel: ConfirmChannel): Promise<void> | null {
  const { connection, ch } = channel as unknown as {
    connection?: { channels?: ({ buffer?: NodeJS.EventEmitter } | null)[] };
    ch?: number;
  };
  const buffer = ch === undefined ? undefined : connection?.channels?.[ch]?.buffer;
  return buffer === undefined ? null : new Promise((resolve) => buffer.once('end', resolve));
}
