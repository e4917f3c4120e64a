import { SLOTS, slotOf } from '../../../lib/core/ordered-queue';

describe('the slot of a key', () => {
  it('is the same in every version: a key must not change its partition by an upgrade', () => {
    const slots = ['', 'a', 'order-1', 'Bestellung-Ä', '0190b5c2-9d1e-7c3a-8f00-2b1d4c5e6f70'].map(slotOf);
    expect(slots).toEqual(['0', '3', '47', '7', '15']);
  });

  it('spreads keys that differ little', () => {
    const partitions = Array.from({ length: 8 }, () => 0);
    for (let key = 0; key < 8_000; key += 1) partitions[Number(slotOf(`order-${key}`)) % 8]! += 1;
    expect(Math.min(...partitions)).toBeGreaterThan(900);
    expect(new Set(Array.from({ length: 8_000 }, (_, key) => slotOf(`order-${key}`))).size).toBe(SLOTS);
  });
});
