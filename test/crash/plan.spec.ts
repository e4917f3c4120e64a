import { planOf, type Step } from './plan';
import { KILL_POINTS } from './protocol';

function take(seed: number, count: number): Step[] {
  const plan = planOf(seed);
  return Array.from({ length: count }, () => plan.next().value);
}

describe("a campaign's plan", () => {
  it('is the same for the same seed, and another for another', () => {
    expect(take(1, 100)).toEqual(take(1, 100));
    expect(take(1, 100)).not.toEqual(take(2, 100));
  });

  it('comes to every kind of fault and to every line at which a process may die', () => {
    const faults = take(3, 2_000).map(({ fault }) => fault);
    expect(new Set(faults.map(({ kind }) => kind)).size).toBe(11);
    const points = faults.map((fault) => (fault.kind === 'kill at a point' ? fault.point : ''));
    expect(points).toEqual(expect.arrayContaining([...KILL_POINTS]));
  });
});
