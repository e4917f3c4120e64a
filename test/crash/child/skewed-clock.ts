/**
 * Sets this process's calendar wrong by so many milliseconds, for everything that asks JavaScript what time it is.
 * Timers and the monotonic clock go on as before, as they do on a machine whose clock is wrong.
 */
export function skewClock(offsetMs: number): void {
  if (offsetMs === 0) return;
  const RealDate = Date;
  globalThis.Date = class extends RealDate {
    constructor(...given: unknown[]) {
      if (given.length === 0) super(RealDate.now() + offsetMs);
      else super(...(given as [number]));
    }

    static override now(): number {
      return RealDate.now() + offsetMs;
    }
  } as DateConstructor;
}
