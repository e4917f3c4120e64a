import { type Clock } from './clock';
import { type ClaimedMessage } from './message';

/**
 * What became of one message that was handed to a transport.
 * - `confirmed`: the broker has it (or, with `confirms: 'handlers'`, every handler bound to it has finished).
 * - `refused`: the broker or a handler said no to this message. Spends an attempt; `retry: false` makes a dead letter now.
 * - `unreachable`: nobody answered. Spends no attempt, and opens the transport's breaker.
 */
export type SendOutcome =
  | { readonly kind: 'confirmed' }
  | { readonly kind: 'refused'; readonly error: string; readonly retry: boolean }
  | { readonly kind: 'unreachable'; readonly error: string };

/** What a transport can do. */
export interface TransportCapabilities {
  /**
   * Who confirms. `broker`: within `sendTimeoutMs`. `handlers`: when the handlers have finished, however long that
   * takes; leases are renewed meanwhile, there is no breaker, and at most `concurrencyMax` messages are out at once.
   * `none`: refused at boot unless the application accepts loss.
   */
  readonly confirms: 'broker' | 'handlers' | 'none';
  /** At most so many messages without an outcome at one time. */
  readonly concurrencyMax: number;
  /** Every outcome comes within so many milliseconds. Must be shorter than the lease. 0 with `confirms: 'handlers'`. */
  readonly sendTimeoutMs: number;
}

/**
 * Carries messages to a broker.
 *
 * Concurrency contract. `send` may be called again while earlier messages are without outcome. It calls `settle` exactly
 * once for each message, never before it has returned, in any order; it never throws. Messages of one batch, and of
 * successive batches, leave in the order given. A message that got `unreachable` may still arrive (at least once). After
 * a time-out the transport forgets the message: it is not sent late.
 */
export interface Transport {
  readonly capabilities: TransportCapabilities;
  /** Begins to connect. Resolves without waiting for a broker that is away; rejects only for what can never work. */
  start(): Promise<void>;
  send(
    messages: readonly ClaimedMessage[],
    settle: (message: ClaimedMessage, outcome: SendOutcome) => void,
  ): void;
  /** Whether it could send now. Called by the breaker, one at a time. Never rejects; bounded in time. */
  probe(): Promise<boolean>;
  /** Calls back when the connection came up or is gone, as a hint for the breaker. @returns stops. */
  onStateChange(listener: (state: 'up' | 'down', reason?: string) => void): () => void;
  /** Closes. What has no outcome yet is settled as `unreachable`. May be called twice. */
  stop(): Promise<void>;
}

/** What the composition root offers to a transport that is being made. */
export interface TransportContext {
  /** The name under which it was registered. */
  readonly name: string;
  readonly clock: Clock;
  /** Looks a provider up in the whole application, by its injection token; undefined where there is none. */
  resolve<T>(token: unknown): T | undefined;
  /** Runs code outside of any ambient transaction: for handlers, sockets and timers that the transport starts. */
  outside<T>(work: () => T): T;
}

/** What `rabbitMq()` and `inProcess()` return: a transport yet to be made, and how it reads destinations. */
export interface TransportDefinition {
  /** For people: `rabbitmq`, `in-process`. */
  readonly kind: string;
  /**
   * Where a message of this type goes, when the publisher named no destination, or checks the one it named.
   * Throws an error that names the remedy.
   */
  destinationOf(type: string, requested: string | undefined): string;
  /** The part of a destination within which messages of one key keep their order. RabbitMQ: the exchange. */
  orderScopeOf(destination: string): string;
  /** Called once, when the application boots, after all providers are there. */
  create(context: TransportContext): Transport | Promise<Transport>;
}
