import type { Clock } from '../core/clock';

/** Resolves after so many milliseconds: with true, or at once with false when the signal is given. */
export function pause(clock: Clock, delayMs: number, stop?: AbortSignal): Promise<boolean> {
  if (stop?.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const onStop = (): void => {
      cancel();
      resolve(false);
    };
    const cancel = clock.after(delayMs, () => {
      stop?.removeEventListener('abort', onStop);
      resolve(true);
    });
    stop?.addEventListener('abort', onStop, { once: true });
  });
}
