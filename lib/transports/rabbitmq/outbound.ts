import type { ChannelModel } from 'amqplib';
import { describeError } from '../../core/errors';
import type { SendOutcome } from '../../core/transport.port';
import type { Flight, Flights } from './flights';
import { type ChannelError, PublishChannel, type PublishListener, type Whereabouts } from './publish-channel';
import type { ResolvedRabbitMqOptions } from './rabbitmq.options';
import { brokerRefusal, culpritsOf, isMessageFault, returnedOutcome } from './refusals';

/*
 * The way out of one connection: messages wait here for room in the buffers, and are written in the order in which they
 * came.
 *
 * One publish that the broker cannot take (to an exchange that is not there) closes the channel, with everything that
 * was on it. Then all of them are suspects. Where the broker's words name the exchange, the culprits are known. If not,
 * the suspects go again, on a fresh channel, one at a time, so that the next close charges exactly one message; the
 * window doubles with each one that is confirmed, so that five hundred good ones do not take five hundred round trips,
 * and falls back to one when the channel closes again. A culprit is refused, the others are confirmed, and their order
 * stays.
 */
export class Outbound implements PublishListener {
  private model: ChannelModel | null = null;
  private channel: PublishChannel | null = null;
  private waiting: Flight[] = [];
  private head = 0;
  private window = Number.POSITIVE_INFINITY;
  private progress = 0;
  /** Under alarm. */
  held = false;

  constructor(
    private readonly flights: Flights,
    private readonly options: ResolvedRabbitMqOptions,
    /** Gives the connection up. */
    private readonly drop: (reason: string) => void,
  ) {}

  get open(): boolean {
    return this.channel !== null;
  }

  async attach(model: ChannelModel): Promise<void> {
    this.model = model;
    this.held = false;
    this.channel = await PublishChannel.open(model, this);
  }

  /** The connection is gone; whoever calls this settles what is unsettled. */
  detach(code: number | null, reason: string): void {
    const unconfirmed = this.channel?.unconfirmedFlights ?? [];
    if (isMessageFault(code)) {
      // A connection can be closed for one message, too. The next ones go one at a time until it is found.
      const [culprit] = unconfirmed;
      if (this.window === 1 && unconfirmed.length === 1 && culprit)
        this.refuse(culprit, brokerRefusal(reason));
      this.narrow();
    }
    this.close();
  }

  close(): void {
    this.model = null;
    this.channel?.mute();
    this.channel = null;
    this.waiting = [];
    this.head = 0;
  }

  add(flight: Flight): void {
    this.waiting.push(flight);
  }

  /** Writes what there is room for. */
  pump(): void {
    while (this.head < this.waiting.length && this.hasRoom()) {
      const flight = this.waiting[this.head] as Flight;
      this.head += 1;
      if (!flight.settled) this.write(flight);
    }
    if (this.head === this.waiting.length && this.head > 0) {
      this.waiting = [];
      this.head = 0;
    }
  }

  /** Under alarm: what was not written yet is given its outcome, what was written may still be confirmed. */
  hold(outcome: SendOutcome): void {
    this.held = true;
    const unwritten = this.waiting.slice(this.head);
    this.waiting = [];
    this.head = 0;
    for (const flight of unwritten) this.flights.settle(flight, outcome);
  }

  release(): void {
    this.held = false;
    this.pump();
  }

  whereabouts(flight: Flight): Whereabouts {
    return this.channel?.whereabouts(flight) ?? 'unwritten';
  }

  forget(flight: Flight): void {
    this.channel?.forget(flight);
  }

  /** Asks whether the broker answers at all. */
  async ask(): Promise<void> {
    await this.channel?.ask();
  }

  /** As `ask`, by a publish. A refusal is an answer, too: not every user may publish to the default exchange. */
  async canary(): Promise<void> {
    await this.channel?.canary().catch(() => undefined);
  }

  confirmed(flight: Flight): void {
    const { returned } = flight;
    const { type, destination } = flight.message;
    const outcome: SendOutcome =
      returned === null
        ? { kind: 'confirmed' }
        : returnedOutcome(this.options.unroutable(type), destination, returned);
    this.flights.settle(flight, outcome);
    this.advance();
  }

  nacked(flight: Flight): void {
    this.refuse(flight, 'RabbitMQ did not keep it (basic.nack): a queue is full, or a node of it failed');
    this.advance();
  }

  drained(): void {
    this.pump();
  }

  broken(unconfirmed: readonly Flight[], error: ChannelError, flushed: Promise<void> | null): void {
    this.channel = null;
    const culprits = culpritsOf(unconfirmed, error, this.window);
    // Those that still wait for the same missing exchange would only close the next channel, too.
    const doomed = culprits.named
      ? culpritsOf(this.waiting.slice(this.head), error, this.window).flights
      : [];
    for (const flight of [...culprits.flights, ...doomed]) this.refuse(flight, brokerRefusal(error.message));
    if (culprits.flights.length === 0) this.narrow();
    this.waiting = [...unconfirmed, ...this.waiting.slice(this.head)].filter((flight) => !flight.settled);
    this.head = 0;
    void this.reopen(flushed);
  }

  private async reopen(flushed: Promise<void> | null): Promise<void> {
    const model = this.model;
    if (model === null) return;
    if (flushed === null) {
      this.drop('its channel was closed');
      return;
    }
    try {
      await flushed;
      if (this.model !== model) return;
      const channel = await PublishChannel.open(model, this);
      if (this.model !== model) return;
      this.channel = channel;
      this.pump();
    } catch (error) {
      if (this.model === model) this.drop(`no new channel: ${describeError(error)}`);
    }
  }

  private hasRoom(): boolean {
    const { channel } = this;
    return channel !== null && !this.held && channel.writable && channel.unconfirmedCount < this.window;
  }

  private write(flight: Flight): void {
    const { channel } = this;
    flight.returned = null;
    try {
      channel?.publish(flight);
    } catch (error) {
      if (!(error instanceof TypeError) && !(error instanceof RangeError)) {
        // amqplib is just closing. Not now: outcomes must not come before `send` has returned.
        const { model } = this;
        this.channel = null;
        queueMicrotask(() => {
          if (this.model === model) this.drop(describeError(error));
        });
        return;
      }
      // Its confirmations are out of step from here on: see PublishChannel. The others go again on another one.
      const others = (channel?.unconfirmedFlights ?? []).filter((other) => other !== flight);
      this.channel = null;
      this.waiting = [...others, ...this.waiting.slice(this.head)];
      this.head = 0;
      queueMicrotask(() => {
        this.refuse(flight, describeError(error), false);
      });
      if (channel) void this.reopen(channel.abandon());
    }
  }

  private refuse(flight: Flight, error: string, retry = true): void {
    this.flights.settle(flight, { kind: 'refused', error, retry });
  }

  private narrow(): void {
    this.window = 1;
    this.progress = 0;
  }

  private advance(): void {
    if (this.window !== Number.POSITIVE_INFINITY) {
      this.progress += 1;
      if (this.progress >= this.window) {
        this.progress = 0;
        this.window *= 2;
        if (this.window >= this.options.inFlightMax) this.window = Number.POSITIVE_INFINITY;
      }
    }
    if (this.head < this.waiting.length) this.pump();
  }
}
