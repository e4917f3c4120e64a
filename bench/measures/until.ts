import { setTimeout as delay } from 'node:timers/promises';

/** Seldom: each look takes CPU time from what is looked at. */
const LOOK_EVERY_MS = 50;
const TIMEOUT_MS = 30 * 60_000;

/** Asks until the answer will do. What is measured is never when it was asked, but what the answer says. */
export async function until<Answer>(
  ask: () => Promise<Answer>,
  willDo: (answer: Answer) => boolean,
): Promise<Answer> {
  const endsAt = performance.now() + TIMEOUT_MS;
  for (;;) {
    const answer = await ask();
    if (willDo(answer)) return answer;
    if (performance.now() > endsAt) throw new Error(`not reached in time: ${JSON.stringify(answer)}`);
    await delay(LOOK_EVERY_MS);
  }
}
