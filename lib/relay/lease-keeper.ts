import { Logger } from '@nestjs/common';
import type { CancelTimer, Clock } from '../core/clock';
import type { OutboxStore } from '../core/outbox-store.port';
import type { BackgroundHealth } from './background-health';
import type { Flight, Lane } from './lane';

/** Renewals a lease, at most: so several may fail before it is lost. */
const TICKS_PER_LEASE = 6;

export interface LeaseKeeperSettings {
  readonly leaseMs: number;
  readonly lanes: readonly Lane[];
  /** A transport did not settle a message within its lease, against its word. */
  readonly overdue: (lane: Lane, flight: Flight) => void;
  /** A look at what waits in memory, whose leases may have become too short there. */
  readonly tidyQueue: (lane: Lane) => void;
  /** Whether anything is in hand, and so has a lease to watch. */
  readonly busy: () => boolean;
}

/**
 * Watches the leases of everything in hand, with one timer for all, which runs only while there is something to watch.
 *
 * A lease that is lost (the database was away for longer, or somebody moved the row) cannot be won back, and a handler
 * that runs cannot be stopped. So: it is not renewed any more; the message keeps its place, so that this process stays
 * within its concurrency; "finished" still counts, because that is a fact; a failure counts for nothing, because it is
 * fenced by the token; and if this very process claims the row again meanwhile, the sender adopts the new claim instead of
 * starting a second run (see Sender.take).
 */
export class LeaseKeeper {
  private readonly logger = new Logger('OutboxRelay');
  private cancelTimer: CancelTimer | null = null;
  private closed = false;

  constructor(
    private readonly settings: LeaseKeeperSettings,
    private readonly store: Pick<OutboxStore, 'extend'>,
    private readonly clock: Clock,
    private readonly health: BackgroundHealth,
  ) {}

  /** Something came into hand. */
  watch(): void {
    if (this.cancelTimer !== null || this.closed) return;
    this.cancelTimer = this.clock.after(this.settings.leaseMs / TICKS_PER_LEASE, () => {
      this.cancelTimer = null;
      void this.tick();
    });
  }

  close(): void {
    this.closed = true;
    this.cancelTimer?.();
  }

  private async tick(): Promise<void> {
    // Armed before the statements run: while one hangs, the others must not wait for it.
    if (this.settings.busy()) this.watch();
    const renewals: Promise<void>[] = [];
    for (const lane of this.settings.lanes) {
      this.settings.tidyQueue(lane);
      if (lane.renewsLeases) renewals.push(...this.renew(lane));
      else this.reportOverdue(lane);
    }
    await Promise.all(renewals);
  }

  private reportOverdue(lane: Lane): void {
    const now = this.clock.monotonicMs();
    for (const flight of lane.flights.values()) {
      if (flight.held.leaseEndsAtMs <= now) this.settings.overdue(lane, flight);
    }
  }

  private renew(lane: Lane): Promise<void>[] {
    const renewBelowMs = (this.settings.leaseMs * 2) / 3;
    const now = this.clock.monotonicMs();
    const byToken = new Map<string, Flight[]>();
    for (const flight of lane.flights.values()) {
      if (flight.held.leaseEndsAtMs - now > renewBelowMs) continue;
      const same = byToken.get(flight.held.message.token);
      if (same === undefined) byToken.set(flight.held.message.token, [flight]);
      else same.push(flight);
    }
    return [...byToken].map(([token, flights]) => this.extend(lane, token, flights));
  }

  private async extend(lane: Lane, token: string, flights: readonly Flight[]): Promise<void> {
    const startedAtMs = this.clock.monotonicMs();
    let kept: ReadonlySet<string>;
    try {
      const ids = flights.map((flight) => flight.held.message.id);
      kept = new Set(await this.store.extend(ids, token, this.settings.leaseMs));
    } catch (error) {
      this.health.failed('Renewing leases', error);
      return;
    }
    this.health.worked('Renewing leases');
    for (const { held } of flights) {
      // Finished, or claimed anew, while the statement ran.
      if (!lane.flights.has(held.message.id) || held.message.token !== token) continue;
      if (kept.has(held.message.id)) {
        held.leaseEndsAtMs = startedAtMs + this.settings.leaseMs;
      } else {
        held.leaseEndsAtMs = Number.POSITIVE_INFINITY;
        this.logger.warn(
          `Message ${held.message.id} (${held.message.type}) lost its lease while its handlers run; another relay may run them again`,
        );
      }
    }
  }
}
