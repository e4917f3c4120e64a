import type { CancelTimer, Clock } from '../core/clock';
import type { ClaimedMessage } from '../core/message';
import type { ClaimTerms, OutboxStore } from '../core/outbox-store.port';
import type { BackgroundHealth } from './background-health';
import type { Lane } from './lane';
import type { ClaimGroup, SendWindow } from './send-window';

const TASK = 'Looking for due messages';
/** The schedule's timer is not exact: a tick that comes this share of the interval too early still counts. */
const TICK_TOLERANCE = 0.1;

export interface ResendJobParts {
  readonly store: Pick<OutboxStore, 'claim' | 'nextDueInMs'>;
  readonly lanes: readonly Lane[];
  readonly window: SendWindow;
  readonly clock: Clock;
  readonly health: BackgroundHealth;
  readonly terms: () => ClaimTerms;
  readonly send: (messages: readonly ClaimedMessage[]) => void;
  /** Places that were kept for a claim are free again, as far as it did not need them. */
  readonly freed: () => void;
}

export interface ResendJobSettings {
  readonly intervalMs: number;
  readonly idleIntervalMaxMs: number;
  /** Calls for a look that come closer together than this share one: a `NOTIFY` storm must not become a query storm. */
  readonly wakeSpacingMs: number;
}

/**
 * Claims due rows and sends them: what the fast path left, what other processes wrote, retries, delays.
 *
 * One look at a time. A look claims until nothing is due any more; the next claim runs while the last one's messages are
 * still being confirmed, as far as there is room. When looks find nothing, they come less often; whoever knows that
 * something is due says so with `wake`. A claim whose answer is lost leaves its rows leased and unsent: they are due again
 * when that lease ends.
 */
export class ResendJob {
  private readonly exhausted = new Set<Lane>();
  private current: Promise<boolean> | null = null;
  private wokenMeanwhile = false;
  private stopped = true;
  private lastLookMs = Number.NEGATIVE_INFINITY;
  private idleMs = 0;
  private nextLookMs = 0;
  private wakeAtMs = Number.POSITIVE_INFINITY;
  private cancelTimer: CancelTimer | null = null;

  constructor(
    private readonly parts: ResendJobParts,
    private readonly settings: ResendJobSettings,
  ) {}

  start(): void {
    this.stopped = false;
    this.wake();
  }

  /** No claim is made from here on. Resolves when the one on its way is through. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.clearTimer();
    this.roomChanged();
    await this.current;
  }

  /** The schedule's beat. Looks only when it is time to: the beats go on while the job is idle. */
  tick(): void {
    const tolerated = this.settings.intervalMs * TICK_TOLERANCE;
    if (this.parts.clock.monotonicMs() + tolerated >= this.nextLookMs) this.wake();
  }

  /** Something is due, or may be. */
  wake(): void {
    if (this.stopped) return;
    if (this.current !== null) {
      this.wokenMeanwhile = true;
      return;
    }
    const sinceMs = this.parts.clock.monotonicMs() - this.lastLookMs;
    if (sinceMs >= this.settings.wakeSpacingMs) void this.look();
    else this.wakeIn(this.settings.wakeSpacingMs - sinceMs);
  }

  /** Something will be due in so many milliseconds. Only the earliest is remembered; a look finds out about the next. */
  wakeIn(delayMs: number): void {
    const atMs = this.parts.clock.monotonicMs() + delayMs;
    if (this.stopped || atMs >= this.wakeAtMs) return;
    this.clearTimer();
    this.wakeAtMs = atMs;
    this.cancelTimer = this.parts.clock.after(delayMs, () => {
      this.clearTimer();
      this.wake();
    });
  }

  /** A look that begins after this call. @returns whether it went through to its end. */
  async lookNow(): Promise<boolean> {
    if (this.current !== null) await this.current;
    if (this.stopped) return false;
    return this.current ?? this.look();
  }

  /** Places came free, or a transport was opened or closed: a look that waits for room goes on. */
  roomChanged(): void {
    this.parts.window.changed(this.exhausted, this.stopped);
  }

  private look(): Promise<boolean> {
    const startedAtMs = this.parts.clock.monotonicMs();
    this.lastLookMs = startedAtMs;
    this.wokenMeanwhile = false;
    this.exhausted.clear();
    const look = this.drain(startedAtMs).finally(() => {
      this.current = null;
      if (this.wokenMeanwhile) this.wake();
    });
    this.current = look;
    return look;
  }

  private async drain(startedAtMs: number): Promise<boolean> {
    let found = 0;
    try {
      while (!this.stopped && this.hasOpenLane()) {
        const groups = this.parts.window.claimGroups(this.exhausted);
        if (groups.length === 0) await this.parts.window.whenClaimable();
        for (const group of groups) if (!this.stopped) found += await this.claim(group);
      }
      await this.plan(startedAtMs, found > 0);
    } catch (error) {
      this.parts.health.failed(TASK, error);
      this.planLater(startedAtMs);
      return false;
    }
    this.parts.health.worked(TASK);
    return true;
  }

  private hasOpenLane(): boolean {
    return this.parts.lanes.some((lane) => lane.gate.isOpen && !this.exhausted.has(lane));
  }

  private async claim(group: ClaimGroup): Promise<number> {
    const places = this.parts.window.reserve(group);
    let claimed: readonly ClaimedMessage[] = [];
    try {
      if (places.limit === 0) return 0;
      const names = group.lanes.map((lane) => lane.name);
      claimed = await this.parts.store.claim(names, places.limit, this.parts.terms());
    } catch (error) {
      this.parts.freed();
      throw error;
    } finally {
      places.giveBack();
    }
    if (claimed.length < places.limit) group.lanes.forEach((lane) => this.exhausted.add(lane));
    this.parts.send(claimed);
    this.parts.freed();
    return claimed.length;
  }

  private async plan(startedAtMs: number, found: boolean): Promise<void> {
    const { intervalMs } = this.settings;
    if (found) this.idleMs = 0;
    this.planLater(startedAtMs);
    if (found || this.stopped || this.idleMs <= intervalMs) return;
    // About to look less often: whatever is due before then is worth being told of.
    const open = this.parts.lanes.filter((lane) => lane.gate.isOpen).map((lane) => lane.name);
    if (open.length === 0) return;
    const dueInMs = await this.parts.store.nextDueInMs(open);
    if (dueInMs !== null && dueInMs < this.idleMs) this.wakeIn(Math.max(dueInMs, intervalMs));
  }

  private planLater(startedAtMs: number): void {
    const { intervalMs, idleIntervalMaxMs } = this.settings;
    this.idleMs =
      this.idleMs === 0 ? intervalMs : Math.max(intervalMs, Math.min(this.idleMs * 2, idleIntervalMaxMs));
    this.nextLookMs = startedAtMs + this.idleMs;
  }

  private clearTimer(): void {
    this.cancelTimer?.();
    this.cancelTimer = null;
    this.wakeAtMs = Number.POSITIVE_INFINITY;
  }
}
