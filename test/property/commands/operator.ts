import fc from 'fast-check';
import type { DeadLetterFilter } from '../../../lib/core/dead-letter-store.port';
import type { PurgeTerms } from '../../../lib/core/outbox-store.port';
import { hashOf } from '../../contracts/outbox-store.harness';
import type { Model } from '../model';
import { type Row, TICK_MS } from '../row';
import { always, expectChoice, idsOf, step, type Step } from '../step';
import { CLAIMS_MAX, keysOf, LIMIT, SOME_TRANSPORTS, text, TRANSPORTS } from './values';

/** Which dead letters: all, those of a key or a transport, or some by their place in the list. */
type Which = { key?: string; transport?: string; places?: readonly number[] };

export function passing(ticks: number): Step {
  return step(`pass(${ticks})`, always, async (model, system) => {
    await system.pass(ticks, model);
    model.now = model.later(ticks);
  });
}

export function redriving(which: Which, limit: number): Step {
  return step(`redrive(${text(which)}, limit ${limit})`, always, async (model, system) => {
    const { filter, rows } = deadLetters(model, which, limit);
    expect([...(await system.deadLetters.redrive(filter, limit))].sort()).toEqual(idsOf(rows));
    model.redrive(rows);
  });
}

function discarding(which: Which, limit: number): Step {
  return step(`discard(${text(which)}, limit ${limit})`, always, async (model, system) => {
    const { filter, rows } = deadLetters(model, which, limit);
    const { ids, keyHashes } = await system.deadLetters.discard(filter, limit);
    expect([...ids].sort()).toEqual(idsOf(rows));
    expect(new Set(keyHashes)).toEqual(new Set(keysOf(rows).map(hashOf)));
    for (const row of rows) model.finish(row, 'cancelled');
  });
}

function purging(status: PurgeTerms['status'], olderThanTicks: number, limit: number): Step {
  return step(
    `purge(${status}, older than ${olderThanTicks}, limit ${limit})`,
    always,
    async (model, system) => {
      const purgeable = model.purgeable(status, olderThanTicks);
      const count = await system.outbox.purge({ status, olderThanMs: olderThanTicks * TICK_MS, limit });
      const left = idsOf(await system.look());
      const gone = model.rows(({ id }) => !left.includes(id));
      expect(gone).toHaveLength(count);
      expectChoice(gone, purgeable, limit);
      for (const { id } of gone) model.committed.delete(id);
      system.ledger.purge(idsOf(gone));
    },
  );
}

/** What people and the relay's timers look at. */
export function looking(transports: readonly string[]): Step {
  return step(`look(${text(transports)})`, always, async (model, system) => {
    const of = (status: string): Row[] => model.rows((row) => row.status === status);
    const { oldestUnsentMs, ...counts } = await system.outbox.stats();
    expect(counts).toMatchObject({
      pending: of('pending').length + of('blocked').length,
      blocked: of('blocked').length,
      due: of('pending').filter(({ nextAt }) => model.isPast(nextAt)).length,
      deadLetters: of('dead_letter').length,
      sent: of('sent').length,
      parked: of('blocked').filter((row) => model.parkedBy(row) !== undefined).length,
      parkedKeys: keysOf(of('blocked').filter((row) => model.parkedBy(row) !== undefined)).length,
    });
    const unsent = [...of('pending'), ...of('blocked')].filter(({ availableAt }) =>
      model.isPast(availableAt),
    );
    const oldest = -Math.min(...unsent.map(({ availableAt }) => model.ticksUntil(availableAt)));
    expect(oldestUnsentMs > 0).toBe(unsent.length > 0);
    if (unsent.length > 0) expect(Math.floor(oldestUnsentMs / TICK_MS)).toBe(oldest + 0);
    expect(ticksOf(await system.outbox.nextDueInMs(transports))).toBe(nextDue(model, transports));
    const { items } = await system.deadLetters.list({}, { limit: 1_000 });
    const waitingFor = (dead: Row): number =>
      of('blocked').filter((row) => model.parkedBy(row) === dead).length;
    expect(items.map(({ id, waiting }) => [id, waiting])).toEqual(
      of('dead_letter').map((dead) => [dead.id, waitingFor(dead)]),
    );
    const [blocked] = of('blocked');
    if (blocked === undefined) return;
    const ahead = model
      .rows((row) => row.key === blocked.key && row.seq < blocked.seq)
      .filter((row) => model.holds(row));
    expect((await system.outbox.inspect(blocked.id))?.ahead).toMatchObject({
      count: ahead.length,
      first: ahead[0] === undefined ? null : { id: ahead[0].id },
      deadLetter: model.parkedBy(blocked) === undefined ? null : { id: model.parkedBy(blocked)?.id },
    });
  });
}

function deadLetters(
  model: Model,
  { places, ...filter }: Which,
  limit: number,
): { filter: DeadLetterFilter; rows: Row[] } {
  const dead = model
    .rows(({ status }) => status === 'dead_letter')
    .filter(({ key }) => filter.key === undefined || key === filter.key)
    .filter(({ transport }) => filter.transport === undefined || transport === filter.transport);
  const picked = places === undefined ? dead : dead.filter((_, place) => places.includes(place));
  return {
    filter: places === undefined ? filter : { ...filter, ids: idsOf(picked) },
    rows: picked.slice(0, limit),
  };
}

function nextDue(model: Model, transports: readonly string[]): number | null {
  const waiting = model.rows(
    ({ status, transport, claims, expiresAt }) =>
      status === 'pending' &&
      transports.includes(transport) &&
      claims < CLAIMS_MAX &&
      !model.isPast(expiresAt),
  );
  if (waiting.length === 0) return null;
  return Math.max(0, Math.min(...waiting.map(({ nextAt }) => model.ticksUntil(nextAt))));
}

function ticksOf(ms: number | null): number | null {
  return ms === null ? null : Math.ceil(ms / TICK_MS);
}

const WHICH: fc.Arbitrary<Which> = fc.oneof(
  fc.constant({}),
  fc.constantFrom(...TRANSPORTS).map((transport) => ({ transport })),
  fc.constantFrom(...TRANSPORTS).map((transport) => ({ key: `${transport} a` })),
  fc.uniqueArray(fc.nat(3), { maxLength: 2 }).map((places) => ({ places })),
);
const STATUS = fc.constantFrom('sent', 'dead_letter', 'cancelled', 'consumed');

const pass = fc.constantFrom(1, 2).map(passing);
const redrive = fc.tuple(WHICH, LIMIT).map((some) => redriving(...some));
const discard = fc.tuple(WHICH, LIMIT).map((some) => discarding(...some));
const purge = fc.tuple(STATUS, fc.constantFrom(0, 1), LIMIT).map((some) => purging(...some));

/** The more often, the likelier. */
export const OPERATOR_STEPS: fc.Arbitrary<Step>[] = [
  ...[pass, pass, pass, pass, redrive, redrive],
  ...[discard, purge, SOME_TRANSPORTS.map(looking)],
];
