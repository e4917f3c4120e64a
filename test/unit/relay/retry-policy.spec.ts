import fc from 'fast-check';
import { backOffMs, retryInMs } from '../../../lib/relay/retry-policy';

const policy = { attemptsMax: 5, delayMs: 1_000, factor: 2, delayMaxMs: 6_000, jitter: 0.2, claimsMax: 5 };

describe('the retry policy', () => {
  it.each([
    [1, 0.5, 1_000],
    [2, 0.5, 2_000],
    [3, 0.5, 4_000],
    [4, 0.5, 6_000],
    [1, 0, 800],
    [1, 0.999_999, 1_200],
    [5, 0.5, null],
    [6, 0.5, null],
  ])('after %d refusals, with %d of chance: %s ms', (attempts, random, expected) => {
    expect(retryInMs(policy, attempts, random)).toBe(expected);
  });

  it('never waits longer than its bound, however often it failed', () => {
    const failures = fc.integer({ min: 1, max: 100_000 });
    fc.assert(
      fc.property(failures, fc.double({ min: 0, max: 0.999, noNaN: true }), (count, random) => {
        const delay = backOffMs(policy, count, random);
        expect(Number.isInteger(delay)).toBe(true);
        expect(delay).toBeGreaterThanOrEqual(800);
        expect(delay).toBeLessThanOrEqual(6_000);
      }),
    );
  });
});
