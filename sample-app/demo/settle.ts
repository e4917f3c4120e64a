import { setTimeout as delay } from 'node:timers/promises';

import { check, exitCodeOf, type Facts, type Row } from './checker';
import { progress } from './progress';

const LOOK_INTERVAL_MS = 500;
const SETTLE_TIMEOUT_MS = 60_000;
/** A thing that is done twice is done the second time after the first: the last look comes a little later. */
const LATE_LOOK_MS = 2_000;

/** Waits until all messages have arrived and taken effect, and looks once more. What is not there by then is lost. */
export async function settle(collect: () => Promise<Facts>): Promise<Row[]> {
  const facts = await collect();
  const bar = progress('messages take effect', facts.expectedOrders);
  let shown = 0;
  for (
    const deadline = Date.now() + SETTLE_TIMEOUT_MS;
    Date.now() < deadline;
    await delay(LOOK_INTERVAL_MS)
  ) {
    const { messages, payments, ...rest } = await collect();
    const done = Math.min(messages.filter(({ status }) => status === 'sent').length, payments.length);
    bar.step(done - shown);
    shown = done;
    if (exitCodeOf(check({ messages, payments, ...rest })) === 0) break;
  }
  bar.end();
  await delay(LATE_LOOK_MS);
  return check(await collect());
}
