import type { Clock } from '../../core/clock';

/** Waits for work, and no longer than so. @returns whether it ended well in time. Never rejects; leaves no timer. */
export function endsWellWithin(clock: Clock, limitMs: number, work: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve) => {
    const cancel = clock.after(limitMs, () => {
      resolve(false);
    });
    const end = (well: boolean): void => {
      cancel();
      resolve(well);
    };
    work.then(
      () => {
        end(true);
      },
      () => {
        end(false);
      },
    );
  });
}
