import type { Clock } from '../core/clock';

/** So often a claim looks at everything. */
const FULL_LOOK_MS = 10_000;
/** Longer than nearly every transaction takes from its INSERT to the end of its COMMIT. */
const MARGIN_MS = 5_000;
/** A hundred years: before anything. */
const EVERYTHING_MS = 100 * 366 * 86_400_000;

/**
 * How far back claims look for rows that are due.
 *
 * Rows that were sent leave dead entries at the old end of the index of due rows, until the server may clean them up. While
 * some session holds a snapshot open (a long report, a dump, a forgotten transaction) it may not: then a claim that
 * begins at the old end reads all of them, each time, and more each time. A claim that came back with less than it asked for
 * has found nothing else, so the next ones look only at what has become due since, and a bit more. What may still turn up
 * further back (a transaction that took long to commit, a row that another claim had locked and did not take, one that
 * somebody changed by hand) is found by the claims that look at everything, a few times a minute.
 */
export class ClaimWindows {
  private readonly windows = new Map<string, { emptyAtMs: number; fullAtMs: number }>();

  constructor(private readonly clock: Clock) {}

  /** Of rows that became due so long ago, in milliseconds, or less. */
  ofClaim(transports: readonly string[]): ClaimWindow {
    const startedAtMs = this.clock.monotonicMs();
    const name = transports.join('\0');
    const window = this.windows.get(name);
    const full = window === undefined || startedAtMs - window.fullAtMs >= FULL_LOOK_MS;
    return {
      dueWithinMs: full ? EVERYTHING_MS : startedAtMs - window.emptyAtMs + MARGIN_MS,
      exhausted: () => {
        const fullAtMs = full ? startedAtMs : window.fullAtMs;
        this.windows.set(name, { emptyAtMs: startedAtMs, fullAtMs });
      },
    };
  }
}

export interface ClaimWindow {
  readonly dueWithinMs: number;
  /** The claim took all that there was. */
  readonly exhausted: () => void;
}
