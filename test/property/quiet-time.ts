import { looking, passing, redriving } from './commands/operator';
import { claiming, completing, promoting, quarantining, sweeping } from './commands/relay';
import { endOfTransaction } from './commands/transactions';
import { keysOf, TRANSPORTS } from './commands/values';
import type { Model } from './model';
import type { Step } from './step';
import type { System } from './system';

/** Longer than all leases, delays and back-offs. */
const LONG = 10;
const ALL = 1_000;

/**
 * No publisher and no failure any more: everything must be sent that is not a dead letter, cancelled, or parked behind a
 * dead letter, each key at one message a round at least; and with all dead letters redriven again and again, those too.
 */
export async function quietTime(model: Model, system: System): Promise<void> {
  while (model.open.length > 0) await endOfTransaction().run(model, system);
  await drain(model, system);
  const unsent = model.rows(({ status }) => status === 'pending' || status === 'blocked');
  expect(unsent.filter((row) => row.status === 'pending' || model.parkedBy(row) === undefined)).toEqual([]);
  await drain(model, system, redriving({}, ALL));
  const over = ['sent', 'cancelled'];
  expect(model.rows(({ status }) => !over.includes(status))).toEqual([]);
  await looking(TRANSPORTS).run(model, system);
}

async function drain(model: Model, system: System, first?: Step): Promise<void> {
  const lengths = keysOf(model.rows()).map((key) => model.rows((row) => row.key === key).length);
  // A message may turn out to be hopeless, and is sent after the next redrive.
  const rounds = 1 + 2 * Math.max(0, ...lengths);
  const over = first === undefined ? ['sent', 'cancelled', 'dead_letter'] : ['sent', 'cancelled'];
  const isOver = (): boolean => model.rows(({ status }) => !over.includes(status)).length === 0;
  // The latest one may have ended in the middle of the keys: this one goes on there, and the next begins anew.
  await sweeping(ALL).run(model, system);
  for (let round = 0; round < rounds && !isOver(); round += 1) {
    await first?.run(model, system);
    await passing(LONG).run(model, system);
    await sweeping(ALL).run(model, system);
    await quarantining(ALL).run(model, system);
    const before = model.takings.length;
    await claiming(TRANSPORTS, ALL, 1).run(model, system);
    const taken = model.takings.slice(before);
    if (taken.length > 0) await completing('all that were claimed', () => taken).run(model, system);
    await promoting(keysOf(taken.map(({ id }) => model.row(id))), null).run(model, system);
  }
}
