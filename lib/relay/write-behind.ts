import type { CancelTimer, Clock } from '../core/clock';
import type { BackgroundHealth } from './background-health';
import { type BackOff, backOffMs } from './retry-policy';

const BACK_OFF: BackOff = { delayMs: 100, factor: 2, delayMaxMs: 5_000, jitter: 0 };

export interface WriteBehindSettings<Item> {
  /** For logs: what is being written. */
  readonly task: string;
  /** Items of one statement. */
  readonly sizeMax: number;
  /** How long an item waits for others to share its statement. */
  readonly delayMs: number;
  /** Writes them, and tells whom it concerns. May be called again with the same items after a rejection. */
  readonly write: (items: readonly Item[]) => Promise<void>;
  /** Asked after a failure: false where writing it later has no effect any more. */
  readonly worthRetrying: (item: Item) => boolean;
  /** It was not worth it. */
  readonly dropped: (item: Item) => void;
}

/**
 * Gathers what is to be written down, and writes many with one statement, one statement at a time, in order, until it is
 * written. What came while a statement ran gathers on, unless it fills one or somebody waits for it: statements that follow
 * each other closely have few items each, and cost more than all the rest of a message.
 *
 * A failure is either the database's, and then nothing goes through until it is back; or that of one row, which must not
 * stop the others. The two look alike from here, so after a failure the batch is halved each time, and a row that fails
 * alone goes behind all others. Memory is bounded by whoever adds: items count as in flight until they are written.
 */
export class WriteBehind<Item> {
  private waiting: Item[] = [];
  private writing = false;
  /** Somebody waits for all that waits here. */
  private urgent = false;
  private failures = 0;
  private size: number;
  private cancelTimer: CancelTimer | null = null;
  private idleWaiters: (() => void)[] = [];
  private closed = false;

  constructor(
    private readonly settings: WriteBehindSettings<Item>,
    private readonly clock: Clock,
    private readonly health: BackgroundHealth,
  ) {
    this.size = settings.sizeMax;
  }

  get isIdle(): boolean {
    return !this.writing && this.waiting.length === 0;
  }

  add(item: Item): void {
    this.waiting.push(item);
    // While a statement runs, or is backed off from, items gather by themselves.
    if (this.writing || this.failures > 0 || this.closed) return;
    if (this.waiting.length < this.settings.sizeMax) {
      this.gather();
      return;
    }
    this.cancelTimer?.();
    this.cancelTimer = null;
    void this.run();
  }

  /** Writes now what waits, without gathering more; also in the middle of a back-off. */
  flush(): void {
    this.cancelTimer?.();
    this.cancelTimer = null;
    if (this.waiting.length === 0) return;
    this.urgent = true;
    if (!this.writing) void this.run();
  }

  /** As `flush`, but leaves a database alone that has just failed. */
  flushUnlessFailing(): void {
    if (this.failures === 0 && !this.closed) this.flush();
  }

  /** Resolves when nothing waits any more. */
  whenIdle(): Promise<void> {
    if (this.isIdle) return Promise.resolve();
    return new Promise((resolve) => this.idleWaiters.push(resolve));
  }

  /** Stops trying; what waits stays unwritten, and its leases run out. */
  close(): void {
    this.closed = true;
    this.cancelTimer?.();
    this.cancelTimer = null;
  }

  private async run(): Promise<void> {
    this.writing = true;
    let failed = false;
    do {
      failed = !(await this.writeSome());
      if (this.waiting.length === 0) this.urgent = false;
    } while (!failed && (this.urgent || this.waiting.length >= this.settings.sizeMax));
    this.writing = false;
    if (failed) this.backOff();
    else if (this.waiting.length > 0) this.gather();
    else this.idleWaiters.splice(0).forEach((resolve) => resolve());
  }

  private gather(): void {
    if (this.closed) return;
    this.cancelTimer ??= this.clock.after(this.settings.delayMs, () => {
      this.cancelTimer = null;
      if (!this.writing && this.waiting.length > 0) void this.run();
    });
  }

  private async writeSome(): Promise<boolean> {
    const items = this.waiting.splice(0, this.size);
    try {
      await this.settings.write(items);
    } catch (error) {
      this.failures += 1;
      this.health.failed(this.settings.task, error);
      this.putBack(items);
      return false;
    }
    this.failures = 0;
    this.size = this.settings.sizeMax;
    this.health.worked(this.settings.task);
    return true;
  }

  private putBack(items: Item[]): void {
    const kept = items.filter((item) => this.settings.worthRetrying(item));
    if (kept.length < items.length) {
      for (const item of items) if (!kept.includes(item)) this.settings.dropped(item);
    }
    this.waiting = items.length === 1 ? [...this.waiting, ...kept] : [...kept, ...this.waiting];
    this.size = Math.max(1, Math.ceil(items.length / 2));
  }

  private backOff(): void {
    if (this.isIdle) {
      // Everything that failed was dropped.
      this.failures = 0;
      this.idleWaiters.splice(0).forEach((resolve) => resolve());
      return;
    }
    if (this.closed) return;
    this.cancelTimer = this.clock.after(backOffMs(BACK_OFF, this.failures, 0.5), () => this.flush());
  }
}
