import { type Explanation } from './explanation';
import { type StoreStats } from './outbox-store.port';

/** Figures of the outbox, and of this process's relay. */
export interface OutboxStats extends StoreStats {
  /** Messages in this process's hands: queued for the fast path, or with a transport. */
  readonly inFlight: number;
  /** Transports that do not send now, by name, and why. */
  readonly paused: Readonly<Record<string, 'paused' | 'unreachable'>>;
}

/**
 * What an application may ask of the relay.
 *
 * Concurrency contract: all may be called at any time and twice.
 */
export interface RelayControl {
  /**
   * Resolves when everything that was committed before the call and is due is sent, or has failed its attempt, and that
   * is written down. Rejects inside a transaction (it would wait for itself) and when the time is over.
   */
  flush(options?: { readonly timeoutMs?: number }): Promise<void>;
  /** Stops sending: of one transport, or of all. What is in flight ends; publishing goes on. */
  pause(transport?: string): void;
  resume(transport?: string): void;
  stats(): Promise<OutboxStats>;
  /**
   * Why a message is not sent yet, or what became of it: any message, in any process that has an outbox. What concerns
   * transports is what this process knows; others may be sending meanwhile. Works inside a transaction, too.
   */
  explain(messageId: string): Promise<Explanation>;
  /** Asks for a look at the table now, instead of at the next tick. */
  wake(): void;
}

/**
 * The relay of a data source, as applications inject it: `constructor(private readonly relay: OutboxRelay)`.
 * An abstract class, because an interface is no injection token.
 */
export abstract class OutboxRelay implements RelayControl {
  abstract flush(options?: { readonly timeoutMs?: number }): Promise<void>;
  abstract pause(transport?: string): void;
  abstract resume(transport?: string): void;
  abstract stats(): Promise<OutboxStats>;
  abstract explain(messageId: string): Promise<Explanation>;
  abstract wake(): void;
}
