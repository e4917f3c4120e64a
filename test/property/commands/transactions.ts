import fc from 'fast-check';
import type { IsolationLevel } from '../../../lib/core/transactions.port';
import type { Model } from '../model';
import type { OpenTransaction } from '../row';
import { step, type Step } from '../step';
import { OPEN_MAX, type System } from '../system';
import { ISOLATION, MESSAGE, type NewMessage, text } from './values';

const nth = fc.nat(OPEN_MAX - 1);
const BIRTH_LEASE = fc.constantFrom(0, 1);
const hasRoom = ({ open }: Model): boolean => open.length < OPEN_MAX;
const nameOf = (isolation: IsolationLevel | null): string => isolation ?? 'DEFAULT';

/** Others may go on while it is open. */
const begin = fc
  .tuple(ISOLATION, BIRTH_LEASE, fc.array(MESSAGE, { maxLength: 2 }))
  .map(([isolation, leaseTicks, messages]) =>
    step(
      `begin(${nameOf(isolation)}, lease ${leaseTicks}, ${text(messages)})`,
      hasRoom,
      async (model, system) => {
        const one = model.begin(isolation, leaseTicks);
        for (const message of messages) model.stage(one, message);
        await system.begin(one);
      },
    ),
  );

/** Keeps a message in memory until the commit. */
const publish = fc.tuple(nth, MESSAGE).map(([index, message]) =>
  stepOf(
    `publish(${index}, ${text(message)})`,
    index,
    ({ phase }) => phase === 'open',
    async (one, model) => model.stage(one, message),
  ),
);

/** The INSERT, some time before the COMMIT. It may wait for a key of another transaction; one does so at a time. */
const write = nth.map((index) =>
  stepOf(
    `write(${index})`,
    index,
    (one, model) =>
      one.phase === 'open' &&
      one.staged.length > 0 &&
      (model.waiting === undefined || !model.mustWait(one.staged, one)),
    (one, model, system) => insert(model, system, one),
  ),
);

const commit = nth.map((index) =>
  stepOf(
    `commit(${index})`,
    index,
    (one, model) => one.phase === 'written' || (one.phase === 'open' && !model.mustWait(one.staged, one)),
    (one, model, system) => committing(model, system, one),
  ),
);

const rollback = nth.map((index) =>
  stepOf(
    `rollback(${index})`,
    index,
    ({ phase }) => phase !== 'writing',
    (one, model, system) => rollingBack(model, system, one),
  ),
);

/** A whole transaction, as most are: shorter than all others. */
const post = fc
  .tuple(ISOLATION, BIRTH_LEASE, fc.array(MESSAGE, { minLength: 1, maxLength: 3 }))
  .map(([isolation, leaseTicks, messages]) => posting(isolation, leaseTicks, messages));

/** The more often, the likelier. */
export const TRANSACTION_STEPS: fc.Arbitrary<Step>[] = [
  ...[begin, begin, begin, publish, write, write, write, commit, commit, rollback],
  ...[post, post, post],
];

/** Commits what waits to be committed, and rolls back what has written nothing. */
export function endOfTransaction(): Step {
  return step(
    'end of a transaction',
    () => true,
    async (model, system) => {
      const one = model.open.find(({ phase }) => phase !== 'writing');
      if (one?.phase === 'open') await rollingBack(model, system, one);
      else if (one !== undefined) await committing(model, system, one);
    },
  );
}

function posting(
  isolation: IsolationLevel | null,
  leaseTicks: number,
  messages: readonly NewMessage[],
): Step {
  const keys = messages.map(({ transport, key }) => ({ key: key === null ? null : `${transport} ${key}` }));
  return step(
    `post(${nameOf(isolation)}, lease ${leaseTicks}, ${text(messages)})`,
    (model) => hasRoom(model) && !model.mustWait(keys),
    async (model, system) => {
      const one = model.begin(isolation, leaseTicks);
      await system.begin(one);
      for (const message of messages) model.stage(one, message);
      await committing(model, system, one);
    },
  );
}

async function insert(model: Model, system: System, one: OpenTransaction): Promise<void> {
  const waits = model.mustWait(one.staged, one);
  one.phase = 'writing';
  system.write(one);
  if (waits) expect(await system.waits(one)).toBe(true);
  else expect(await system.written(one)).toEqual(model.write(one));
}

async function committing(model: Model, system: System, one: OpenTransaction): Promise<void> {
  if (one.phase === 'open' && one.staged.length > 0) await insert(model, system, one);
  await system.commit(one);
  const taken = model.commit(one);
  system.ledger.commit(one.rows.map(({ id }) => id));
  system.ledger.take(taken.map(({ id }) => id));
  await letGo(model, system);
}

async function rollingBack(model: Model, system: System, one: OpenTransaction): Promise<void> {
  await system.rollback(one);
  model.rollback(one);
  await letGo(model, system);
}

/** Whoever waited for a key of the transaction that has just ended goes on, unless another one holds a second key. */
async function letGo(model: Model, system: System): Promise<void> {
  const { waiting } = model;
  if (waiting === undefined || model.mustWait(waiting.staged, waiting)) return;
  expect(await system.written(waiting)).toEqual(model.write(waiting));
}

/** A step of the n-th of those open transactions that can take it. */
function stepOf(
  name: string,
  index: number,
  may: (one: OpenTransaction, model: Model) => boolean,
  run: (one: OpenTransaction, model: Model, system: System) => Promise<void>,
): Step {
  const pick = (model: Model): OpenTransaction | undefined => {
    const able = model.open.filter((one) => may(one, model));
    return able[index % able.length];
  };
  return step(
    name,
    (model) => pick(model) !== undefined,
    async (model, system) => {
      const one = pick(model);
      if (one !== undefined) await run(one, model, system);
    },
  );
}
