import { setTimeout as delay } from 'node:timers/promises';

import { PATIENCE } from './patience';

export interface WaitForOptions {
  /** Times `PATIENCE`. @default 10_000 */
  timeoutMs?: number;
  /** @default 20 */
  intervalMs?: number;
  /** Named in the failure, after "waited for". @default the condition's source */
  what?: string;
}

type Falsy = false | 0 | '' | null | undefined;

/**
 * Asks until the condition gives something truthy, and returns that. A condition that throws is asked again; the
 * failure quotes its last error or value.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  options: WaitForOptions = {},
): Promise<Exclude<T, Falsy>> {
  const { timeoutMs = 10_000, intervalMs = 20, what = condition.toString() } = options;
  const deadline = performance.now() + timeoutMs * PATIENCE;
  for (;;) {
    let outcome: string;
    try {
      const value = await condition();
      if (value) return value as Exclude<T, Falsy>;
      outcome = `the last value was ${String(value)}`;
    } catch (error) {
      outcome = `the last error was ${String(error)}`;
    }
    if (performance.now() >= deadline) {
      throw new Error(`Waited ${timeoutMs * PATIENCE} ms in vain for ${what}; ${outcome}`);
    }
    await delay(intervalMs);
  }
}
