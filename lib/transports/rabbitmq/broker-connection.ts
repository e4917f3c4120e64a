import type { Logger } from '@nestjs/common';
import type { ChannelModel } from 'amqplib';
import type { CancelTimer, Clock } from '../../core/clock';
import { describeError } from '../../core/errors';
import { endsWellWithin } from './bounded';
import type { BrokerServer, BrokerSettings } from './broker-settings';
import { coalesceWrites } from './coalesced-writes';
import { displayAddress, redact } from './redact';

/*
 * One connection to the broker, kept up for as long as the transport lives.
 *
 * Each try is a Link of its own, and everything that happens to a Link that is no longer the current one is ignored: so
 * a late answer of an old socket never disturbs a new one. Whoever gives a Link up destroys its socket at once (an
 * orderly close waits for a broker that may not answer), and whatever was still in our buffers is gone with it.
 */

const RECONNECT_DELAY_MS = 100;
const CLOSE_TIMEOUT_MS = 1_000;

/** Why a connection ended. `code` is AMQP's, where the broker gave one. */
export interface Disconnection {
  readonly reason: string;
  readonly code: number | null;
}

/** What the transport hears of its connection. All but `connected` are called synchronously and must not throw. */
export interface ConnectionListener {
  /** A new connection: make it usable. A rejection gives it up, and another try follows. */
  connected(model: ChannelModel): Promise<void>;
  /** It is usable from now on. */
  ready(): void;
  /** A usable connection, or one that was being made usable, is gone. */
  disconnected(disconnection: Disconnection): void;
  blocked(reason: string): void;
  unblocked(): void;
}

export interface ConnectionLimits {
  readonly connectTimeoutMs: number;
  readonly reconnectDelayMaxMs: number;
}

/** amqplib, as far as it is used here; loaded by whoever makes the connection. */
export type AmqpConnect = (address: never, socketOptions: object) => Promise<ChannelModel>;

class Link {
  readonly abort = new AbortController();
  model: ChannelModel | null = null;
  address = '';
  ready = false;
  lastError: { message: string; code: number | null } | null = null;
}

export class BrokerConnection {
  private link: Link | null = null;
  private servers: readonly BrokerServer[] = [];
  private turn = 0;
  private failures = 0;
  private stopped = false;
  private cancelRetry: CancelTimer | null = null;

  constructor(
    private readonly connect: AmqpConnect,
    private readonly settings: BrokerSettings,
    private readonly limits: ConnectionLimits,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly listener: ConnectionListener,
  ) {}

  /** Connects, and keeps connecting until `stop()`. @returns a promise for the end of the first try, well or badly. */
  start(): Promise<void> {
    return this.attempt();
  }

  get model(): ChannelModel | null {
    return this.link?.model ?? null;
  }

  /** Gives the connection up at once, unflushed, and makes another. */
  drop(reason: string): void {
    if (this.link !== null) this.lost(this.link, { reason, code: null });
  }

  /** Ends it for good: in order, where the broker answers, or at once. */
  async stop(orderly: boolean): Promise<void> {
    this.stopped = true;
    this.cancelRetry?.();
    const link = this.link;
    this.link = null;
    if (link === null) return;
    if (orderly && link.model !== null) {
      await endsWellWithin(this.clock, CLOSE_TIMEOUT_MS, link.model.close());
    }
    link.abort.abort();
  }

  private async attempt(): Promise<void> {
    const link = (this.link = new Link());
    const cancelTimeout = this.clock.after(this.limits.connectTimeoutMs, () => {
      this.failed(link, new Error(`no answer within ${this.limits.connectTimeoutMs} ms`));
    });
    try {
      await this.open(link);
      if (this.link !== link) return;
      this.failures = 0;
      link.ready = true;
      this.logger.log(`Connected to RabbitMQ at ${link.address}`);
      this.listener.ready();
    } catch (error) {
      this.failed(link, error);
    } finally {
      cancelTimeout();
    }
  }

  private async open(link: Link): Promise<void> {
    const server = await this.nextServer();
    if (this.link !== link) return;
    link.address = displayAddress(server.address);
    const model = await this.connect(server.address as never, {
      noDelay: true,
      ...server.socketOptions,
      signal: link.abort.signal,
    });
    model.on('error', (error: Error & { code?: number }) => {
      link.lastError = { message: error.message, code: error.code ?? null };
    });
    if (this.link !== link) {
      link.abort.abort();
      return;
    }
    coalesceWrites(model);
    link.model = model;
    model.on('close', (error?: Error & { code?: number }) => {
      const { message, code } = link.lastError ?? {
        message: error?.message ?? 'closed',
        code: error?.code ?? null,
      };
      this.lost(link, { reason: message, code });
    });
    model.on('blocked', (reason: string) => this.link === link && this.listener.blocked(reason));
    model.on('unblocked', () => this.link === link && this.listener.unblocked());
    await this.listener.connected(model);
  }

  private async nextServer(): Promise<BrokerServer> {
    this.servers = await this.settings.findServers();
    const server = this.servers[this.turn % this.servers.length];
    this.turn += 1;
    if (server === undefined) throw new Error('no server was found to connect to');
    return server;
  }

  /** A connection that was there is gone. */
  private lost(link: Link, disconnection: Disconnection): void {
    if (this.link !== link) return;
    this.link = null;
    link.abort.abort();
    const reason = this.redact(disconnection.reason);
    if (link.ready) this.logger.warn(`Lost the connection to RabbitMQ at ${link.address}: ${reason}`);
    this.listener.disconnected({ reason, code: disconnection.code });
    this.retryLater(link.ready ? null : reason, link.address);
  }

  /** A connection that never was. */
  private failed(link: Link, error: unknown): void {
    if (this.link !== link || link.ready) return;
    // Node tries several addresses of a name, and then says nothing itself.
    const cause = error instanceof AggregateError ? (error.errors[0] as unknown) : error;
    this.lost(link, { reason: describeError(cause), code: null });
  }

  private retryLater(failure: string | null, address: string): void {
    if (this.stopped) return;
    const pause = Math.min(RECONNECT_DELAY_MS * 2 ** this.failures, this.limits.reconnectDelayMaxMs);
    if (failure !== null) {
      const text = `Cannot connect to RabbitMQ at ${address || 'its address'}: ${failure}`;
      // One outage is one warning; its further tries are for those who look closer.
      if (this.failures === 0) this.logger.warn(`${text}. Trying again until it is there.`);
      else this.logger.debug(text);
      this.failures += 1;
    }
    // Many processes that lost one broker must not come back in step.
    this.cancelRetry = this.clock.after(pause * (0.5 + Math.random() / 2), () => void this.attempt());
  }

  private redact(text: string): string {
    return redact(
      text,
      this.servers.map((server) => server.address),
    );
  }
}
