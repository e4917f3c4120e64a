import { OutboxConfigurationError } from '../core/errors';
import type { ClaimedMessage } from '../core/message';
import type { Transport } from '../core/transport.port';
import { Fifo } from './fifo';
import type { HeldMessage } from './held-message';
import type { TransportGate } from './transport-gate';

/** What is left of a lease after the transport's own limit is for writing the outcome down; more than this is plenty. */
const LEASE_MARGIN_MAX_MS = 1_000;
/** With less than this between limit and lease, hardly a claim would arrive in time to be sent. */
const LEASE_SLACK_MIN_MS = 100;

/** One message with its transport. */
export interface Flight {
  readonly held: HeldMessage;
  /** The very object that the transport was given, and will settle. */
  readonly sent: ClaimedMessage;
}

/** One transport's share of the relay: what waits for it, what it has, and how much more it may get. */
export class Lane {
  /** Waits in memory for the transport: the fast path. */
  readonly queue = new Fifo<HeldMessage>();
  /** Is with the transport, without an outcome; by message id, so that no message is ever with it twice. */
  readonly flights = new Map<string, Flight>();
  /** Places kept for a claim that is on its way. */
  reserved = 0;
  /** A message with less than this left of its lease is not sent any more. */
  readonly leaseNeededMs: number;

  constructor(
    readonly name: string,
    readonly transport: Transport,
    readonly gate: TransportGate,
    leaseMs: number,
  ) {
    const { sendTimeoutMs } = transport.capabilities;
    if (!this.renewsLeases && leaseMs - sendTimeoutMs < LEASE_SLACK_MIN_MS) {
      throw new OutboxConfigurationError(
        'relay.leaseMs',
        `is ${leaseMs} ms, and the transport '${name}' may take ${sendTimeoutMs} ms for one message: a lease that ends ` +
          `before lets another relay send the same message. Make it ${LEASE_SLACK_MIN_MS} ms longer than that limit at least.`,
      );
    }
    // Handlers: renewals come every sixth of a lease, so with half of it left, two of them may fail.
    this.leaseNeededMs = this.renewsLeases
      ? leaseMs / 2
      : sendTimeoutMs + Math.min(LEASE_MARGIN_MAX_MS, (leaseMs - sendTimeoutMs) / 4);
  }

  /** Handlers take as long as they take, so their leases are renewed meanwhile. */
  get renewsLeases(): boolean {
    return this.transport.capabilities.confirms === 'handlers';
  }

  get concurrencyMax(): number {
    return this.transport.capabilities.concurrencyMax;
  }

  /** How many more it may get now. */
  get room(): number {
    return this.gate.isOpen ? Math.max(0, this.concurrencyMax - this.flights.size - this.reserved) : 0;
  }
}
