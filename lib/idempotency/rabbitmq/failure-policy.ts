import type { FailureNature } from '../failure-nature';

/** How a message has fared so far. It travels in its headers. */
export interface Tally {
  /** Failures that were its own. */
  readonly attempts: number;
  /** How often it was put off because of others. */
  readonly waits: number;
}

/** What becomes of a message that was not handled. */
export type Verdict =
  /** Given up. */
  | { readonly kind: 'deadLetter'; readonly tally: Tally }
  /** Off to a retry queue; others go on meanwhile. */
  | { readonly kind: 'delay'; readonly delayMs: number; readonly tally: Tally }
  /** Stays where it is, unacknowledged, and is tried again there. */
  | { readonly kind: 'hold'; readonly delayMs: number; readonly tally: Tally };

export interface Circumstances {
  readonly nature: FailureNature;
  readonly tally: Tally;
  /** Whether there is a retry queue for it, and overtaking does no harm. */
  readonly canDelay: boolean;
  /** How often it was held so far, in this delivery. */
  readonly holds: number;
  /** Whether it was held for as long as one delivery should be. */
  readonly heldLongEnough: boolean;
}

export interface FailureLimits {
  readonly attemptsMax: number;
  /** Milliseconds, by attempt; the last one repeats. */
  readonly retryDelaysMs: readonly number[];
}

/** So often a message is put off for others' sake; then that is its own failure, and ends like one. */
const WAITS_MAX = 100;

const OUTAGE_PAUSE_MS = 1_000;
const OUTAGE_PAUSE_MAX_MS = 30_000;

/**
 * Decides, and counts.
 *
 * While the database is away messages are held and not put off: what is held counts against the prefetch, so the broker
 * stops handing out; putting off would drain the whole queue into the retry queue, over and over. But the broker closes
 * the channel of a message that is held too long (30 minutes by default), so in the end it is put off after all.
 */
export function decide(circumstances: Circumstances, limits: FailureLimits): Verdict {
  const { nature, tally, canDelay, holds, heldLongEnough } = circumstances;
  switch (nature) {
    case 'refused':
      return { kind: 'deadLetter', tally: { ...tally, attempts: tally.attempts + 1 } };
    case 'unavailable':
      return canDelay && heldLongEnough
        ? later(canDelay, delayOf(tally.waits + 1, limits), tally)
        : { kind: 'hold', delayMs: Math.min(OUTAGE_PAUSE_MS * 2 ** holds, OUTAGE_PAUSE_MAX_MS), tally };
    case 'busy':
      if (tally.waits >= WAITS_MAX) return failed(circumstances, limits);
      return later(canDelay, delayOf(tally.waits + 1, limits), { ...tally, waits: tally.waits + 1 });
    case 'failed':
      return failed(circumstances, limits);
  }
}

function failed({ tally, canDelay }: Circumstances, limits: FailureLimits): Verdict {
  const counted = { ...tally, attempts: tally.attempts + 1 };
  if (counted.attempts >= limits.attemptsMax) return { kind: 'deadLetter', tally: counted };
  return later(canDelay, delayOf(counted.attempts, limits), counted);
}

function later(canDelay: boolean, delayMs: number, tally: Tally): Verdict {
  return { kind: canDelay ? 'delay' : 'hold', delayMs, tally };
}

function delayOf(time: number, { retryDelaysMs }: FailureLimits): number {
  return retryDelaysMs[Math.min(time, retryDelaysMs.length) - 1] as number;
}
