/** Cancels a timer. Calling it again, or after the timer fired, does nothing. */
export type CancelTimer = () => void;

/**
 * Time, as the library sees it, so that tests can hold it still.
 *
 * Concurrency contract: all methods are synchronous and may be called at any moment; a cancelled timer never fires.
 */
export interface Clock {
  /** A reading that only goes forward, in milliseconds since an arbitrary start. For leases, deadlines and durations. */
  monotonicMs(): number;
  /** The wall clock, in milliseconds since 1970. For people only: leases are counted by the database's clock. */
  wallMs(): number;
  /** Calls back once, after at least so many milliseconds. Does not keep the process alive. */
  after(delayMs: number, callback: () => void): CancelTimer;
}

/** Node's timers hold no more, and fire at once when given more: a delay of a month would come back as one of nothing. */
const TIMER_MAX_MS = 2_147_483_647;

/** The machine's own clock. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, callback) {
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number): void => {
      const isLast = leftMs <= TIMER_MAX_MS;
      timer = setTimeout(
        isLast ? callback : () => arm(leftMs - TIMER_MAX_MS),
        isLast ? leftMs : TIMER_MAX_MS,
      );
      timer.unref();
    };
    arm(delayMs);
    return () => {
      clearTimeout(timer);
    };
  },
};
