import { ClaimWindows } from '../../../lib/store/claim-windows';
import { ManualClock } from '../support/manual-clock';

const LONG_MS = 86_400_000;

describe('how far back a claim looks', () => {
  it('is everything, until one has found all there was', async () => {
    const clock = new ManualClock();
    const windows = new ClaimWindows(clock);
    expect(windows.ofClaim(['main']).dueWithinMs).toBeGreaterThan(LONG_MS);
    await clock.advance(1_000);
    const full = windows.ofClaim(['main']);
    expect(full.dueWithinMs).toBeGreaterThan(LONG_MS);
    full.exhausted();
    await clock.advance(2_000);
    expect(windows.ofClaim(['main']).dueWithinMs).toBe(7_000);
  });

  it('grows with a backlog, and shrinks when that is gone', async () => {
    const clock = new ManualClock();
    const windows = new ClaimWindows(clock);
    windows.ofClaim(['main']).exhausted();
    await clock.advance(4_000);
    const second = windows.ofClaim(['main']);
    expect(second.dueWithinMs).toBe(9_000);
    await clock.advance(1_000);
    expect(windows.ofClaim(['main']).dueWithinMs).toBe(10_000);
    second.exhausted();
    expect(windows.ofClaim(['main']).dueWithinMs).toBe(6_000);
  });

  it('is everything again every ten seconds, however often nothing is found meanwhile', async () => {
    const clock = new ManualClock();
    const windows = new ClaimWindows(clock);
    const full: boolean[] = [];
    for (let second = 0; second <= 20; second += 1) {
      const window = windows.ofClaim(['main']);
      full.push(window.dueWithinMs > LONG_MS);
      window.exhausted();
      await clock.advance(1_000);
    }
    expect(full.flatMap((isFull, second) => (isFull ? [second] : []))).toEqual([0, 10, 20]);
  });

  it('is known for each group of transports by itself', async () => {
    const clock = new ManualClock();
    const windows = new ClaimWindows(clock);
    windows.ofClaim(['main']).exhausted();
    expect(windows.ofClaim(['main', 'audit']).dueWithinMs).toBeGreaterThan(LONG_MS);
    expect(windows.ofClaim(['main']).dueWithinMs).toBe(5_000);
  });
});
