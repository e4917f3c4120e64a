import { Logger } from '@nestjs/common';
import type { ChannelModel } from 'amqplib';
import { describeError } from '../../core/errors';
import { loadPeer } from '../../core/optional-peer';
import type { ClaimedMessage } from '../../core/message';
import type {
  SendOutcome,
  Transport,
  TransportCapabilities,
  TransportContext,
} from '../../core/transport.port';
import { endsWellWithin } from './bounded';
import { type AmqpConnect, BrokerConnection, type Disconnection } from './broker-connection';
import type { BrokerSettings } from './broker-settings';
import { declareExchanges } from './exchange-declaration';
import { Flight, Flights, type Settle } from './flights';
import { OrderedQueueDeclaration } from './ordered-queue-declaration';
import { Outbound } from './outbound';
import { publicationOf } from './publication';
import type { ResolvedRabbitMqOptions } from './rabbitmq.options';

/*
 * Sends messages to RabbitMQ. What must hold:
 *
 * - A message is written to a broker that is there, or it is `unreachable` at once. Nothing waits in memory for a
 *   connection: what is sent after its lease may be sent by somebody else, too.
 * - What is not confirmed in time is forgotten, and must not leave later. Once the broker has read it, it has left.
 *   Otherwise it may still be in our buffers, so the connection is given up, unflushed.
 * - A message alone without confirmation, overtaken by later ones, is that message's trouble (its queue lacks a quorum,
 *   say): `refused`, or it would stop all others. A broker that confirms nothing is away: `unreachable`.
 * - Blocked (an alarm) is away. The next connection is not blocked until it publishes, so after a blocked one was given
 *   up, a canary must come back before real messages follow: `doubted`.
 */

const START_WAIT_MS = 1_000;
const PROBE_TIMEOUT_MAX_MS = 5_000;

type StateListener = (state: 'up' | 'down', reason?: string) => void;

export class RabbitMqTransport implements Transport {
  readonly capabilities: TransportCapabilities;
  private readonly logger: Logger;
  private readonly flights: Flights;
  private readonly outbound: Outbound;
  private readonly connection: BrokerConnection;
  private readonly orderedQueues: OrderedQueueDeclaration;
  private readonly listeners = new Set<StateListener>();
  private away = 'not started yet';
  private up = false;
  private doubted = false;
  private stopped = false;

  constructor(
    private readonly options: ResolvedRabbitMqOptions,
    private readonly settings: BrokerSettings,
    private readonly context: TransportContext,
  ) {
    const { sendTimeoutMs, inFlightMax } = options;
    this.capabilities = { confirms: 'broker', concurrencyMax: inFlightMax, sendTimeoutMs };
    this.logger = new Logger(`RabbitMqTransport(${context.name})`);
    this.orderedQueues = new OrderedQueueDeclaration(options.orderedQueues, this.logger);
    this.flights = new Flights(sendTimeoutMs, context.clock, {
      quiet: () => {
        // Its answer is noted by the channel; without one, `expired` knows what that means.
        this.outbound.ask().catch(() => undefined);
      },
      expired: (flights) => {
        this.expired(flights);
      },
      settleFailed: (flight, error) => {
        this.logger.error(
          `The outcome of message ${flight.message.id} was not taken: ${describeError(error)}`,
        );
      },
    });
    this.outbound = new Outbound(this.flights, options, (reason) => {
      this.connection.drop(reason);
    });
    const { connect } = loadPeer<{ connect: AmqpConnect }>('amqplib', 'rabbitMq()');
    this.connection = new BrokerConnection(connect, settings, options, context.clock, this.logger, {
      connected: (model) => this.connected(model),
      ready: () => {
        this.ready();
      },
      disconnected: (disconnection) => {
        this.disconnected(disconnection);
      },
      blocked: (reason) => {
        this.blocked(reason);
      },
      unblocked: () => {
        this.unblocked();
      },
    });
  }

  async start(): Promise<void> {
    const firstTry = this.context.outside(() => this.connection.start());
    // A broker that is there is connected when this resolves; one that is away holds nobody up.
    await endsWellWithin(this.context.clock, START_WAIT_MS, firstTry);
  }

  send(messages: readonly ClaimedMessage[], settle: Settle): void {
    if (!this.up) {
      const outcome: SendOutcome = { kind: 'unreachable', error: this.away };
      queueMicrotask(() => {
        for (const message of messages) settle(message, outcome);
      });
      return;
    }
    // Whatever is opened from here on (timers, sockets' callbacks) must not carry a caller's transaction.
    this.context.outside(() => {
      const sentAtMs = this.context.clock.monotonicMs();
      for (const message of messages) this.accept(message, settle, sentAtMs);
      this.outbound.pump();
    });
  }

  async probe(): Promise<boolean> {
    if (!this.outbound.open || this.outbound.held) return false;
    const limitMs = Math.min(PROBE_TIMEOUT_MAX_MS, this.options.sendTimeoutMs);
    const model = this.connection.model;
    const answer = this.doubted ? this.outbound.canary() : this.outbound.ask();
    const answered = await endsWellWithin(this.context.clock, limitMs, answer);
    if (model !== this.connection.model || this.stopped) return false;
    if (this.outbound.held) return false;
    if (!answered) {
      this.connection.drop(`no answer within ${limitMs} ms`);
      return false;
    }
    this.doubted = false;
    this.becomeUp();
    return this.up;
  }

  onStateChange(listener: StateListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  async stop(): Promise<void> {
    if (this.stopped) return;
    this.stopped = true;
    const pending = this.flights.size;
    this.becomeDown('the transport is stopped');
    this.flights.settleAll({ kind: 'unreachable', error: this.away });
    this.flights.close();
    this.outbound.close();
    // What was still unconfirmed must not leave after it was settled, so then there is no orderly end.
    await this.connection.stop(pending === 0);
  }

  private accept(message: ClaimedMessage, settle: Settle, sentAtMs: number): void {
    const mandatory = this.options.unroutable(message.type) !== 'accept';
    const publication = publicationOf(message, mandatory);
    if (typeof publication === 'string') {
      queueMicrotask(() => {
        settle(message, { kind: 'refused', error: publication, retry: false });
      });
      return;
    }
    const flight = new Flight(message, publication, settle, sentAtMs);
    this.flights.add(flight);
    this.outbound.add(flight);
  }

  private async connected(model: ChannelModel): Promise<void> {
    await declareExchanges(model, this.settings.exchanges, this.logger);
    await this.orderedQueues.declare(model);
    await this.outbound.attach(model);
  }

  private ready(): void {
    if (this.doubted) void this.probe();
    else this.becomeUp();
  }

  private disconnected({ reason, code }: Disconnection): void {
    if (this.outbound.held) this.doubted = true;
    this.becomeDown(reason);
    this.outbound.detach(code, reason);
    this.flights.settleAll({ kind: 'unreachable', error: reason });
  }

  private blocked(reason: string): void {
    this.logger.warn(`RabbitMQ takes no messages: ${reason}. Nothing is sent until its alarm is over.`);
    this.becomeDown(`RabbitMQ blocks publishers: ${reason}`);
    this.outbound.hold({ kind: 'unreachable', error: this.away });
  }

  private unblocked(): void {
    this.logger.log('RabbitMQ takes messages again');
    this.doubted = false;
    this.outbound.release();
    this.becomeUp();
  }

  private expired(flights: readonly Flight[]): void {
    const late = `no confirmation within ${this.options.sendTimeoutMs} ms`;
    let stalled = !this.outbound.open;
    for (const flight of flights) {
      const whereabouts = this.outbound.whereabouts(flight);
      if (whereabouts === 'written') stalled = true;
      const outcome: SendOutcome =
        whereabouts === 'overtaken'
          ? {
              kind: 'refused',
              retry: true,
              error: `${late}, while the broker confirmed later messages: see to the queue`,
            }
          : { kind: 'unreachable', error: late };
      this.outbound.forget(flight);
      this.flights.settle(flight, outcome);
    }
    if (stalled) this.connection.drop(late);
  }

  private becomeUp(): void {
    if (this.up || this.stopped || this.outbound.held || this.connection.model === null) return;
    this.up = true;
    for (const listener of this.listeners) listener('up');
  }

  private becomeDown(reason: string): void {
    this.away = reason;
    if (!this.up) return;
    this.up = false;
    for (const listener of this.listeners) listener('down', reason);
  }
}
