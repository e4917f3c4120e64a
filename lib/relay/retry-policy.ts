import type { RetrySettings } from './relay-settings';

/** An exponential back-off: the first delay, its growth, its bound, and how much it is varied (0 to 1). */
export type BackOff = Pick<RetrySettings, 'delayMs' | 'factor' | 'delayMaxMs' | 'jitter'>;

/**
 * The delay after so many failures in a row, at least one. Varied up and down, because messages that failed together
 * would otherwise all come back together.
 * @param random from 0 (inclusive) to 1, as `Math.random()` gives it.
 * @returns whole milliseconds, never more than `delayMaxMs`.
 */
export function backOffMs(backOff: BackOff, failures: number, random: number): number {
  // A large exponent overflows to Infinity, and Math.min brings that back to the bound.
  const plain = Math.min(backOff.delayMs * backOff.factor ** (failures - 1), backOff.delayMaxMs);
  const varied = plain * (1 + backOff.jitter * (2 * random - 1));
  return Math.round(Math.min(varied, backOff.delayMaxMs));
}

/**
 * When a refused message is tried again.
 * @param attempts refusals so far, this one included.
 * @returns milliseconds, or null: no more, it becomes a dead letter.
 */
export function retryInMs(policy: RetrySettings, attempts: number, random: number): number | null {
  return attempts >= policy.attemptsMax ? null : backOffMs(policy, attempts, random);
}
