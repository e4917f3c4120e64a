import type { CancelTimer, Clock } from '../../core/clock';
import type { ClaimedMessage } from '../../core/message';
import type { SendOutcome } from '../../core/transport.port';
import type { Publication } from './publication';

export type Settle = (message: ClaimedMessage, outcome: SendOutcome) => void;

/** One message between `send` and its outcome. */
export class Flight {
  settled = false;
  /** What the broker said when it gave the message back, because no queue is bound for it. */
  returned: string | null = null;

  constructor(
    readonly message: ClaimedMessage,
    readonly publication: Publication,
    readonly settle: Settle,
    /** On the monotonic clock. */
    readonly sentAtMs: number,
  ) {}
}

export interface FlightWatch {
  /** The oldest one has waited for half of its time. */
  quiet(): void;
  /** Their time is over; oldest first. They must be settled before this returns. */
  expired(flights: readonly Flight[]): void;
  /** The receiver of an outcome threw, which it must not: it would break the connection that is just being read. */
  settleFailed(flight: Flight, error: unknown): void;
}

/**
 * All messages without an outcome, in the order in which they came, with one timer for all of them: every message has
 * the same time limit, so the oldest is always the next to expire, and a Set keeps the order of insertion.
 */
export class Flights {
  private readonly open = new Set<Flight>();
  private cancelTimer: CancelTimer | null = null;

  constructor(
    private readonly timeoutMs: number,
    private readonly clock: Clock,
    private readonly watch: FlightWatch,
  ) {}

  get size(): number {
    return this.open.size;
  }

  add(flight: Flight): void {
    this.open.add(flight);
    if (this.cancelTimer === null) this.arm();
  }

  /** Gives a message its outcome. The second one is ignored: a confirmation may come after the time-out. */
  settle(flight: Flight, outcome: SendOutcome): void {
    if (flight.settled) return;
    flight.settled = true;
    this.open.delete(flight);
    try {
      flight.settle(flight.message, outcome);
    } catch (error) {
      this.watch.settleFailed(flight, error);
    }
  }

  settleAll(outcome: SendOutcome): void {
    for (const flight of [...this.open]) this.settle(flight, outcome);
  }

  /** Stops the timer. */
  close(): void {
    this.cancelTimer?.();
    this.cancelTimer = null;
  }

  private arm(): void {
    this.cancelTimer = null;
    const [oldest] = this.open;
    if (oldest === undefined) return;
    const ageMs = this.clock.monotonicMs() - oldest.sentAtMs;
    const limitMs = ageMs < this.timeoutMs / 2 ? this.timeoutMs / 2 : this.timeoutMs;
    this.cancelTimer = this.clock.after(Math.max(0, limitMs - ageMs), () => {
      this.look();
      this.arm();
    });
  }

  private look(): void {
    const now = this.clock.monotonicMs();
    const expired: Flight[] = [];
    for (const flight of this.open) {
      if (now - flight.sentAtMs < this.timeoutMs) break;
      expired.push(flight);
    }
    if (expired.length > 0) this.watch.expired(expired);
    const [oldest] = this.open;
    if (oldest !== undefined && now - oldest.sentAtMs >= this.timeoutMs / 2) this.watch.quiet();
  }
}
