import { randomUUID } from 'node:crypto';
import type { ClaimedMessage, StagedMessage } from '../../lib/core/message';
import type { TestDatabaseType } from '../support/shared-servers';
import {
  born,
  hashOf,
  message,
  openStores,
  type StoreFixture,
  terms,
  waitsForLock,
} from './outbox-store.harness';

/** What every DeadLetterStore does. What a dead letter means for its key is in the suite of the order of keys, too. */
export function describeDeadLetterStore(type: TestDatabaseType): void {
  let park: StoreFixture;
  let skip: StoreFixture;
  beforeAll(async () => {
    park = await openStores(type, { isolation: 'READ COMMITTED' });
    skip = await openStores(type, { isolation: 'READ COMMITTED', onDeadLetter: 'skip' });
  });
  afterEach(() => Promise.all([park.clear(), skip.clear()]));
  afterAll(() => Promise.all([park?.drop(), skip?.drop()]));

  const letters = (): StoreFixture['stores']['deadLetters'] => park.stores.deadLetters;
  async function claim(fixture: StoreFixture): Promise<readonly ClaimedMessage[]> {
    return fixture.stores.outbox.claim(['default', 'other'], 100, terms());
  }
  /** Publishes and refuses for good, one after another, so that each gets its turn. */
  async function bury(fixture: StoreFixture, messages: StagedMessage[], error = 'refused'): Promise<void> {
    await fixture.publish(messages);
    for (const { id, token } of await claim(fixture)) {
      await fixture.stores.outbox.fail([{ id, token, error, retryInMs: null }]);
    }
  }
  const ids = (messages: readonly { readonly id: string }[]): string[] => messages.map(({ id }) => id);

  it('lists dead letters and nothing else, oldest first, page by page, without payloads', async () => {
    const dead = Array.from({ length: 5 }, () => message());
    await bury(park, dead);
    await park.publish([message()]);
    const first = await letters().list({}, { limit: 2 });
    expect(ids(first.items)).toEqual(ids(dead.slice(0, 2)));
    expect(first.items[0]).toMatchObject({
      status: 'dead_letter',
      type: 'order.placed',
      attempts: 1,
      lastError: 'refused',
      sentAt: null,
    });
    expect(first.items[0]?.deadAt?.getTime()).toBeGreaterThan(Date.now() - 60_000);
    expect(first.items[0]).not.toHaveProperty('payload');
    expect(JSON.parse(JSON.stringify(first))).toMatchObject({
      items: [{ seq: first.items[0]?.seq, waiting: 0 }, {}],
      next: first.next,
    });
    expect(first.items[0]?.seq).toMatch(/^\d+$/);
    const second = await letters().list({}, { limit: 2, after: first.next as string });
    const third = await letters().list({}, { limit: 2, after: second.next as string });
    expect([...ids(second.items), ...ids(third.items)]).toEqual(ids(dead.slice(2)));
    expect([second.next === null, third.next]).toEqual([false, null]);
    expect(await letters().count({})).toBe(5);
  });

  it('waits for no transaction that has published something and is still open', async () => {
    await bury(
      park,
      Array.from({ length: 20 }, () => message()),
    );
    // With nothing but dead letters, as the optimizer knows by now, a scan of the table looks cheapest.
    await park.query(`ANALYZE ${type === 'mysql' ? 'TABLE ' : ''}${park.names.message}`);
    const runner = await park.begin();
    await park.stores.outbox.write(runner, [message(), message({ key: 'k' })], born());
    const moves: Promise<unknown>[] = [];
    try {
      for (const filter of [{ ids: [randomUUID()] }, { transport: 'default' }, {}]) {
        for (const move of ['redrive', 'discard'] as const) {
          const moving = letters()[move](filter, 100);
          moves.push(moving);
          expect([move, filter, await waitsForLock(park, moving)]).toEqual([move, filter, false]);
        }
      }
    } finally {
      await runner.rollbackTransaction();
      await runner.release();
      await Promise.all(moves);
    }
  });

  it('filters by everything that a filter has', async () => {
    const one = message({ type: 'a', destination: 'x', key: 'K', tenant: 't' });
    const two = message({ type: 'b', destination: 'y', key: 'k', transport: 'other' });
    await bury(park, [one], 'NOT_FOUND: no exchange "100%_Ü"');
    await park.elapse(3_600_000);
    await bury(park, [two], 'Payload too large');
    const find = async (filter: object): Promise<string[]> =>
      ids((await letters().list(filter, { limit: 9 })).items);
    expect(await find({})).toEqual([one.id, two.id]);
    expect(await find({ ids: [two.id.toUpperCase(), randomUUID(), 'nonsense'] })).toEqual([two.id]);
    expect(await find({ ids: [] })).toEqual([]);
    expect(await find({ type: 'a' })).toEqual([one.id]);
    expect(await find({ destination: 'y' })).toEqual([two.id]);
    expect(await find({ transport: 'other' })).toEqual([two.id]);
    expect(await find({ key: 'K' })).toEqual([one.id]);
    expect(await find({ key: 'K ' })).toEqual([]);
    expect(await find({ tenant: 't' })).toEqual([one.id]);
    const between = new Date(Date.now() - 1_800_000);
    expect(await find({ deadFrom: between })).toEqual([two.id]);
    expect(await find({ deadUntil: between })).toEqual([one.id]);
    expect(await find({ errorContains: 'not_found' })).toEqual([one.id]);
    expect(await find({ errorContains: '"100%_Ü"' })).toEqual([one.id]);
    expect(await find({ errorContains: '%' })).toEqual([one.id]);
    expect(await find({ type: 'a', transport: 'other' })).toEqual([]);
    expect(await letters().count({ type: 'b' })).toBe(1);
    expect(await letters().redrive({ type: 'b', tenant: 't' }, 9)).toEqual([]);
    expect((await letters().discard({ errorContains: 'LARGE' }, 9)).ids).toEqual([two.id]);
  });

  it('gets any row by its id, with its payload', async () => {
    const one = message({ payload: Buffer.from([0, 200]), headers: { trace: '1' }, delayMs: 60_000 });
    await park.publish([one]);
    const record = await letters().get(one.id.toUpperCase());
    expect(record).toMatchObject({ id: one.id, status: 'pending', headers: { trace: '1' }, expiresAt: null });
    expect(record?.payload?.equals(one.payload)).toBe(true);
    expect(record?.nextAttemptAt.getTime()).toBeGreaterThan(Date.now() + 30_000);
    expect(await letters().get(randomUUID())).toBeNull();
    expect(await letters().get('nonsense')).toBeNull();
  });

  it('redrives: due at once, with nothing spent, and without the time of expiry, which may be over', async () => {
    const [one, expired] = [message(), message({ expiresInMs: 60_000 })];
    await bury(park, [one, expired]);
    await park.elapse(3_600_000);
    expect([...(await letters().redrive({}, 9))].sort()).toEqual([one.id, expired.id].sort());
    expect(await letters().redrive({}, 9)).toEqual([]);
    expect((await park.stores.outbox.stats()).oldestUnsentMs).toBeLessThan(60_000);
    const claimed = await claim(park);
    expect(ids(claimed).sort()).toEqual([one.id, expired.id].sort());
    expect(claimed).toMatchObject([
      { attempts: 0, claims: 1 },
      { attempts: 0, claims: 1 },
    ]);
    expect(await letters().get(one.id)).toMatchObject({ deadAt: null, lastError: 'refused' });
  });

  it('redrives and discards no more than its limit, the oldest first', async () => {
    const dead = Array.from({ length: 4 }, () => message());
    await bury(park, dead);
    expect(await letters().redrive({}, 1)).toEqual([dead[0]?.id]);
    expect((await letters().discard({}, 2)).ids.slice().sort()).toEqual(ids(dead.slice(1, 3)).sort());
    expect(await letters().count({})).toBe(1);
  });

  it('moves each row once, though two operators press the button', async () => {
    await bury(
      park,
      Array.from({ length: 20 }, () => message()),
    );
    const [redriven, again, { ids: discarded }] = await Promise.all([
      letters().redrive({}, 20),
      letters().redrive({}, 20),
      letters().discard({}, 20),
    ]);
    const moved = [...redriven, ...again, ...discarded];
    expect(new Set(moved).size).toBe(moved.length);
    expect(moved).toHaveLength(20);
  });

  it('discards: never sent, kept until it is purged, and its key is free', async () => {
    const [dead, next] = [message({ key: 'k' }), message({ key: 'k' })];
    await bury(park, [dead, next]);
    expect(await letters().discard({}, 9)).toEqual({ ids: [dead.id], keyHashes: [hashOf('k')] });
    expect(await letters().get(dead.id)).toMatchObject({ status: 'cancelled' });
    await park.stores.outbox.promote([hashOf('k')], null);
    expect(ids(await claim(park))).toEqual([next.id]);
    await park.elapse(1_000, dead.id);
    expect(await park.stores.outbox.purge({ status: 'cancelled', olderThanMs: 500, limit: 9 })).toBe(1);
  });

  describe('of one key', () => {
    /** Three dead letters of one key, as they come about where dead letters are skipped; and a fourth, which waits. */
    async function buryThree(): Promise<StagedMessage[]> {
      const messages = Array.from({ length: 4 }, () => message({ key: 'k' }));
      await skip.publish(messages);
      for (let n = 0; n < 3; n += 1) {
        const [head, ...others] = await claim(skip);
        expect([head?.id, others]).toEqual([messages[n]?.id, []]);
        await skip.stores.outbox.fail([
          { id: head?.id ?? '', token: head?.token ?? '', error: 'x', retryInMs: null },
        ]);
        expect(await skip.stores.outbox.promote([hashOf('k')], null)).toMatchObject({ promoted: 1 });
      }
      return messages;
    }
    async function drain(): Promise<string[]> {
      const sent: string[] = [];
      for (let claimed = await claim(skip); claimed.length > 0; claimed = await claim(skip)) {
        sent.push(...ids(claimed));
        await skip.stores.outbox.complete(ids(claimed));
        await skip.stores.outbox.promote([hashOf('k')], null);
      }
      return sent;
    }

    it('leave in order when they are redriven together, and one after the other', async () => {
      const messages = await buryThree();
      await skip.stores.outbox.complete(ids(await claim(skip)));
      await skip.stores.deadLetters.redrive({}, 9);
      expect(await skip.stores.outbox.stats()).toMatchObject({ pending: 3, blocked: 2 });
      expect(await drain()).toEqual(ids(messages.slice(0, 3)));
    });

    it('wait for what is on its way, and never for ever', async () => {
      const messages = await buryThree();
      const third = messages[2] as StagedMessage;
      await skip.stores.deadLetters.redrive({ ids: [messages[0]?.id ?? ''] }, 9);
      await skip.stores.deadLetters.redrive({ ids: [third.id] }, 9);
      expect((await skip.row(third.id)).status).toBe('blocked');
      expect((await drain()).sort()).toEqual([messages[0]?.id, third.id, messages[3]?.id].sort());
    });

    it('do not hold a key whose messages are skipped', async () => {
      await buryThree();
      await skip.stores.outbox.complete(ids(await claim(skip)));
      const late = message({ key: 'k' });
      await skip.publish([late]);
      expect(ids(await claim(skip))).toEqual([late.id]);
    });

    it('stay behind an earlier one that is still dead, where dead letters park their key', async () => {
      const messages = await buryThree();
      await skip.stores.outbox.complete(ids(await claim(skip)));
      const parking = await openStores(type, { onDeadLetter: 'park', on: skip });
      const second = messages[1] as StagedMessage;
      expect(await parking.stores.deadLetters.redrive({ ids: [second.id] }, 9)).toEqual([second.id]);
      expect((await skip.row(second.id)).status).toBe('blocked');
      expect(await claim(parking)).toEqual([]);
      await parking.stores.deadLetters.discard({ ids: [messages[0]?.id ?? ''] }, 9);
      expect(await parking.stores.outbox.sweep(9)).toBe(1);
      expect(ids(await claim(parking))).toEqual([second.id]);
      await parking.stores.close();
    });
  });
}
