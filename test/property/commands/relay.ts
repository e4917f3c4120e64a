import fc from 'fast-check';
import { hashOf } from '../../contracts/outbox-store.harness';
import type { Model } from '../model';
import { type ReadRun, type Row, type Taking, TICK_MS } from '../row';
import { always, expectChoice, idsOf, step, type Step } from '../step';
import type { System } from '../system';
import {
  CLAIMS_MAX,
  distinct,
  keysOf,
  LEASE,
  LIMIT,
  SOME_TAKINGS,
  SOME_TRANSPORTS,
  takingsOf,
  text,
  TRANSPORTS,
} from './values';

const KEYS = TRANSPORTS.flatMap((transport) => ['a', 'b'].map((key) => `${transport} ${key}`));

export function claiming(transports: readonly string[], limit: number, leaseTicks: number): Step {
  return step(
    `claim(${text(transports)}, limit ${limit}, lease ${leaseTicks})`,
    always,
    async (model, system) => {
      const due = model.due(transports, CLAIMS_MAX);
      const token = model.newName('claim');
      const terms = { token, owner: 'test', leaseMs: leaseTicks * TICK_MS, claimsMax: CLAIMS_MAX };
      const claimed = await system.outbox.claim(transports, limit, terms);
      expectChoice(claimed, due, limit);
      const rows = claimed.map(({ id }) => model.row(id));
      const left = due.filter((row) => !rows.includes(row));
      const latest = Math.max(...rows.map(({ nextAt }) => nextAt));
      expect(left.filter(({ nextAt }) => nextAt < latest)).toEqual([]);
      for (const row of rows) model.take(row, token, leaseTicks);
      expect(claimed).toMatchObject(
        rows.map(({ id, key, attempts, claims }) => ({ id, key, attempts, claims, token })),
      );
      expect([...rows].sort((a, b) => a.seq - b.seq)).toEqual(rows);
      system.ledger.take(idsOf(rows));
    },
  );
}

/** Also late: with a lease that is over, or a message that somebody else has by now. */
export function completing(name: string, pick: (model: Model) => readonly Taking[]): Step {
  return step(
    `complete(${name})`,
    (model) => pick(model).length > 0,
    async (model, system) => {
      const ids = idsOf(pick(model));
      expect(await system.outbox.complete(ids)).toBe(model.complete(ids).length);
    },
  );
}

/** Completes, and takes what is next in the keys, with some of what waits behind it. */
function chaining(picks: readonly number[], ...more: [leaseTicks: number, count: number]): Step {
  return step(
    `completeAndPromote(${text(picks)}, lease ${more[0]}, ahead ${more[1]})`,
    ({ takings }) => takings.length > 0,
    async (model, system) => {
      const rows = [...new Set(takingsOf(model, picks).flatMap(({ id }) => model.committed.get(id) ?? []))];
      await chain(model, system, [rows, rows], ...more);
    },
  );
}

/** Sends what was read, up to so many; and tells of it, be it late, when others have been at work. */
function running(pick: number, sent: number, ...more: [leaseTicks: number, count: number]): Step {
  const runOf = latestRun(pick);
  return step(
    `run(${pick}, ${sent} sent, lease ${more[0]}, ahead ${more[1]})`,
    (model) => runOf(model) !== undefined,
    async (model, system) => {
      const { head, sent: before, followers } = runOf(model) as ReadRun;
      const ids = [head.id, ...followers.slice(0, sent)];
      system.ledger.run([...before, ...ids]);
      const rows = ids.flatMap((id) => model.committed.get(id) ?? []);
      await chain(model, system, [rows, rows.slice(0, 1)], ...more);
    },
  );
}

/** Sends some of what was read, writes it down while the first one holds the key on, and reads more behind it. */
function goingOn(pick: number, sent: number, count: number): Step {
  const runOf = latestRun(pick);
  return step(
    `goOn(${pick}, ${sent} sent, ahead ${count})`,
    (model) => (runOf(model)?.followers.length ?? 0) >= sent,
    async (model, system) => {
      const { head, sent: before, followers } = runOf(model) as ReadRun;
      const last = followers.at(-1)!;
      const ids = followers.splice(0, sent);
      before.push(...ids);
      system.ledger.run([head.id, ...before]);
      const chained = await system.outbox.completeAndPromote(
        ids.map((id) => ({ id, keyHash: null })),
        { token: model.newName('chain'), owner: 'test', leaseMs: TICK_MS, claimsMax: CLAIMS_MAX },
        { count, bytes: 1_000_000, behind: [last] },
      );
      model.complete(ids);
      expect(chained).toMatchObject({ promoted: 0, claimed: [], ahead: [], left: [] });
      const row = model.committed.get(last);
      const further = chained.further.map(({ id }) => id);
      expect(further).toEqual(row === undefined ? [] : idsOf(model.ahead(row, count)));
      followers.push(...further);
    },
  );
}

function latestRun(pick: number): (model: Model) => ReadRun | undefined {
  return ({ runs }) => runs[runs.length - 1 - pick];
}

async function chain(
  model: Model,
  system: System,
  [rows, last]: [rows: readonly Row[], last: readonly Row[]],
  leaseTicks: number,
  count: number,
): Promise<void> {
  const token = model.newName('chain');
  const terms = { token, owner: 'test', leaseMs: leaseTicks * TICK_MS, claimsMax: CLAIMS_MAX };
  const { promoted, claimed, ahead, left } = await system.outbox.completeAndPromote(
    rows.map((row) => ({
      id: row.id,
      keyHash: row.key === null || !last.includes(row) ? null : hashOf(row.key),
    })),
    terms,
    { count, bytes: 1_000_000 },
  );
  model.complete(idsOf(rows));
  const keys = keysOf(last);
  const heads = model.promote(keys, { token, leaseTicks });
  expect(promoted).toBe(heads.length);
  // A look of its own, after the completion, leaves none.
  const unpromoted = model.database === 'postgres' ? keys.filter((key) => !keysOf(heads).includes(key)) : [];
  expect(new Set(left)).toEqual(new Set(unpromoted.map(hashOf)));
  const taken = heads.filter((row) => row.token === token);
  expect(idsOf(claimed)).toEqual(idsOf(taken));
  const runs = taken.map((row) => ({ head: { id: row.id, token }, followers: model.ahead(row, count) }));
  const expected = runs.flatMap(({ followers }) => followers).sort((a, b) => a.seq - b.seq);
  expect(ahead.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
  for (const { head, followers } of runs) model.runs.push({ head, sent: [], followers: idsOf(followers) });
  system.ledger.take(idsOf(taken));
}

/** Of one message a late sender's failure and the holder's may meet in a batch: the holder's alone counts. */
function failing(picks: readonly number[], retryInTicks: number | null): Step {
  return step(
    `fail(${text(picks)}, ${retryInTicks === null ? 'dead letter' : `retry in ${retryInTicks}`})`,
    ({ takings }) => takings.length > 0,
    async (model, system) => {
      const takings = takingsOf(model, picks);
      const retryInMs = retryInTicks === null ? null : retryInTicks * TICK_MS;
      const moved = await system.outbox.fail(takings.map((one) => ({ ...one, error: 'refused', retryInMs })));
      expect([...moved].sort()).toEqual(idsOf(model.fail(takings, retryInTicks)));
    },
  );
}

function releasing(picks: readonly number[], afterTicks: number): Step {
  return step(
    `release(${text(picks)}, after ${afterTicks})`,
    ({ takings }) => takings.length > 0,
    async (model, system) => {
      const takings = distinct(takingsOf(model, picks));
      await system.outbox.release(takings.map((one) => ({ ...one, afterMs: afterTicks * TICK_MS })));
      model.release(takings, afterTicks);
    },
  );
}

function extending(picks: readonly number[], leaseTicks: number): Step {
  return step(
    `extend(${text(picks)}, lease ${leaseTicks})`,
    ({ takings }) => takings.length > 0,
    async (model, system) => {
      const [first, ...more] = distinct(takingsOf(model, picks));
      if (first === undefined) return;
      // One token, and ids of which some may be somebody else's.
      const takings = [first, ...more].map(({ id }) => ({ id, token: first.token }));
      const held = await system.outbox.extend(idsOf(takings), first.token, leaseTicks * TICK_MS);
      expect([...held].sort()).toEqual(idsOf(model.extend(takings, leaseTicks)));
    },
  );
}

export function promoting(keys: readonly string[], leaseTicks: number | null): Step {
  return step(`promote(${text(keys)}, ${text(leaseTicks)})`, always, async (model, system) => {
    const token = model.newName('promotion');
    const terms = { token, owner: 'test', leaseMs: (leaseTicks ?? 0) * TICK_MS, claimsMax: CLAIMS_MAX };
    const { promoted, claimed } = await system.outbox.promote(
      keys.map(hashOf),
      leaseTicks === null ? null : terms,
    );
    const heads = model.promote(keys, leaseTicks === null ? null : { token, leaseTicks });
    expect(promoted).toBe(heads.length);
    const taken = heads.filter((row) => row.token === token);
    expect(idsOf(claimed)).toEqual(idsOf(taken));
    system.ledger.take(idsOf(taken));
  });
}

/** Which keys have their turn, the store knows. */
export function sweeping(limit: number): Step {
  return step(`sweep(${limit})`, always, async (model, system) => {
    const promotable = keysOf(model.rows()).flatMap((key) => model.promotable(key) ?? []);
    const promoted = await system.outbox.sweep(limit);
    const pending = idsOf((await system.look()).filter(({ status }) => status === 'pending'));
    const chosen = model.rows(({ id, status }) => status === 'blocked' && pending.includes(id));
    expect(chosen.filter((row) => !promotable.includes(row))).toEqual([]);
    expect(promoted).toBe(chosen.length);
    expect(promoted).toBeLessThanOrEqual(limit);
    model.promote(keysOf(chosen), null);
  });
}

export function quarantining(limit: number): Step {
  return step(`quarantine(${limit})`, always, async (model, system) => {
    const found = await system.outbox.quarantine(CLAIMS_MAX, limit);
    const hopeless = model.hopeless(CLAIMS_MAX);
    const ended = found.filter(({ id }) => hopeless.includes(model.row(id)));
    expectChoice(ended, hopeless, limit);
    const behind = found.filter((one) => !ended.includes(one));
    const expired = model.expiredBehind(
      ended.map(({ id }) => model.row(id)).filter(({ claims }) => claims < CLAIMS_MAX),
    );
    expectChoice(behind, expired, limit - ended.length);
    for (const { id } of found) {
      const row = model.row(id);
      model.finish(row, row.status === 'pending' && row.claims >= CLAIMS_MAX ? 'dead_letter' : 'cancelled');
    }
  });
}

const complete = SOME_TAKINGS.map((picks) => completing(text(picks), (model) => takingsOf(model, picks)));
const AHEAD = fc.constantFrom(10, 10, 1, 0);
const chained = fc.tuple(SOME_TAKINGS, LEASE, AHEAD).map((some) => chaining(...some));
const run = fc.tuple(fc.nat(2), fc.nat(3), LEASE, AHEAD).map((some) => running(...some));
const goOn = fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 3 }), AHEAD).map((some) => goingOn(...some));
const claim = fc.tuple(SOME_TRANSPORTS, LIMIT, LEASE).map((some) => claiming(...some));
const fail = fc.tuple(SOME_TAKINGS, fc.constantFrom(null, 0, 1)).map((some) => failing(...some));
const release = fc.tuple(SOME_TAKINGS, fc.constantFrom(0, 1)).map((some) => releasing(...some));
const extend = fc.tuple(SOME_TAKINGS, LEASE).map((some) => extending(...some));
const promote = fc.tuple(fc.subarray(KEYS), fc.constantFrom(null, 1)).map((some) => promoting(...some));

/** The more often, the likelier. */
export const RELAY_STEPS: fc.Arbitrary<Step>[] = [
  ...[claim, claim, claim, claim, complete, complete, complete],
  ...[chained, chained, run, run, goOn, goOn],
  ...[fail, fail, release, release, extend, extend],
  ...[promote, promote, LIMIT.map(sweeping), LIMIT.map(quarantining)],
];
