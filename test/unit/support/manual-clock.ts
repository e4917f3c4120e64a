import type { CancelTimer, Clock } from '../../../lib/core/clock';

interface Timer {
  readonly atMs: number;
  readonly callback: () => void;
}

/** Lets everything that is ready run: promises, and what waits for the next turns of the event loop. */
export async function settled(turns = 10): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  private nowMs = 0;
  private readonly timers = new Set<Timer>();

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return Date.UTC(2030, 0, 1) + this.nowMs;
  }

  after(delayMs: number, callback: () => void): CancelTimer {
    const timer: Timer = { atMs: this.nowMs + delayMs, callback };
    this.timers.add(timer);
    return () => {
      this.timers.delete(timer);
    };
  }

  /** How many timers are armed. */
  get armed(): number {
    return this.timers.size;
  }

  /** Moves on, timer by timer, and lets everything run that each of them sets off. */
  async advance(byMs: number): Promise<void> {
    const untilMs = this.nowMs + byMs;
    await settled();
    for (let timer = this.next(untilMs); timer !== undefined; timer = this.next(untilMs)) {
      this.timers.delete(timer);
      this.nowMs = Math.max(this.nowMs, timer.atMs);
      timer.callback();
      await settled();
    }
    // Something that ran may have moved the clock itself.
    this.nowMs = Math.max(this.nowMs, untilMs);
  }

  private next(untilMs: number): Timer | undefined {
    return [...this.timers].filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0];
  }
}
