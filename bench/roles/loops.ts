import { monotonicMs } from '../harness/statistics';
import type { ClosedLoop, ClosedLoopResult, OpenLoop } from './config';

/** Runs transactions, so many at once, and counts them. */
export async function closedLoop(
  { concurrency, seconds }: Pick<ClosedLoop, 'concurrency' | 'seconds'>,
  transact: (n: number) => Promise<unknown>,
): Promise<ClosedLoopResult> {
  const beganAt = monotonicMs();
  const endsAt = beganAt + seconds * 1_000;
  let transactions = 0;
  const work = async (): Promise<void> => {
    while (monotonicMs() < endsAt) await transact((transactions += 1));
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  return { transactions, perSecond: transactions / ((monotonicMs() - beganAt) / 1_000) };
}

/** Begins transactions at a steady rate; one that takes long keeps no other from beginning. */
export async function openLoop(
  { rate, seconds }: Pick<OpenLoop, 'rate' | 'seconds'>,
  transact: (n: number) => Promise<unknown>,
): Promise<void> {
  const beganAt = monotonicMs();
  const all: Promise<unknown>[] = [];
  const count = Math.round(rate * seconds);
  while (all.length < count) {
    const dueMs = beganAt + (all.length / rate) * 1_000 - monotonicMs();
    if (dueMs <= 0) all.push(transact(all.length + 1));
    else await new Promise((resolve) => setTimeout(resolve, dueMs));
  }
  await Promise.all(all);
}
