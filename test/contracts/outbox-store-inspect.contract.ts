import { randomUUID } from 'node:crypto';
import type { StagedMessage } from '../../lib/core/message';
import type { MessageSituation } from '../../lib/core/outbox-store.port';
import type { TestDatabaseType } from '../support/shared-servers';
import { hashOf, message, openStores, type StoreFixture, terms, waitsForLock } from './outbox-store.harness';

const LEASE_MS = 30_000;

/** What every OutboxStore tells people: of one row, of what goes before it and behind it, and of parked keys. */
export function describeInspection(type: TestDatabaseType): void {
  let park: StoreFixture;
  let skip: StoreFixture;
  beforeAll(async () => {
    park = await openStores(type, { isolation: 'READ COMMITTED' });
    skip = await openStores(type, { isolation: 'READ COMMITTED', onDeadLetter: 'skip', on: park });
  });
  afterEach(() => park.clear());
  afterAll(async () => {
    await skip?.stores.close();
    await park?.drop();
  });

  const ofKey = (key: string, count: number): StagedMessage[] =>
    Array.from({ length: count }, () => message({ key }));
  async function see(id: string, fixture = park): Promise<MessageSituation> {
    const situation = await fixture.stores.outbox.inspect(id);
    if (situation === null) throw new Error(`There is no row ${id}`);
    return situation;
  }
  /** Takes what is due, and refuses it for good. */
  async function bury(): Promise<void> {
    for (const { id, token } of await park.stores.outbox.claim(['default'], 100, terms())) {
      await park.stores.outbox.fail([{ id, token, error: 'refused', retryInMs: null }]);
    }
  }
  /** Publishes messages of one key, of which the first is a dead letter. @returns their ids. */
  async function parked(key: string, behind: number): Promise<string[]> {
    const messages = ofKey(key, behind + 1);
    await park.publish(messages);
    await bury();
    return messages.map(({ id }) => id);
  }

  describe('inspect', () => {
    it('is null for what is not there, is no id, or is not committed', async () => {
      expect(await park.stores.outbox.inspect(randomUUID())).toBeNull();
      expect(await park.stores.outbox.inspect(`nonsense'`)).toBeNull();
      const open = message({ key: 'k' });
      const runner = await park.begin();
      await park.stores.outbox.write(runner, [open], {
        token: 'mine',
        owner: 'me',
        leaseMs: LEASE_MS,
        isolation: 'READ COMMITTED',
      });
      // It neither sees the row nor waits for its transaction.
      expect(await park.stores.outbox.inspect(open.id)).toBeNull();
      await runner.commitTransaction();
      await runner.release();
      expect((await see(open.id.toUpperCase())).message.id).toBe(open.id);
    });

    it('tells whether it is claimed, and how long until its time, by the clock of the database', async () => {
      const [due, delayed, leased] = [
        message(),
        message({ delayMs: 60_000 }),
        message({ expiresInMs: 90_000 }),
      ];
      await park.publish([due, delayed]);
      await park.publish([leased], { owner: 'me', leaseMs: LEASE_MS });
      const dueSituation = await see(due.id);
      expect(dueSituation).toMatchObject({
        message: { status: 'pending', claimedBy: null },
        isClaimed: false,
        finishedAt: null,
        expiresInMs: null,
        waiting: 0,
        ahead: { count: 0, first: null, deadLetter: null },
      });
      expect(dueSituation.dueInMs).toBeLessThanOrEqual(0);
      expect(dueSituation.dueInMs).toBeGreaterThan(-20_000);
      const delayedSituation = await see(delayed.id);
      expect(delayedSituation.isClaimed).toBe(false);
      expect(delayedSituation.dueInMs).toBeGreaterThan(40_000);
      expect(delayedSituation.availableInMs).toBeCloseTo(delayedSituation.dueInMs, 0);
      const leasedSituation = await see(leased.id);
      expect(leasedSituation).toMatchObject({ message: { claimedBy: 'me', claims: 1 }, isClaimed: true });
      expect(leasedSituation.dueInMs).toBeGreaterThan(LEASE_MS - 20_000);
      expect(leasedSituation.dueInMs).toBeLessThanOrEqual(LEASE_MS);
      expect(leasedSituation.availableInMs).toBeLessThanOrEqual(0);
      expect(leasedSituation.expiresInMs).toBeGreaterThan(70_000);
      expect(leasedSituation.expiresInMs).toBeLessThanOrEqual(90_000);
    });

    it('tells when it ended', async () => {
      const [sent, dead] = [message(), message()];
      await park.publish([dead]);
      await bury();
      await park.publish([sent]);
      await park.stores.outbox.complete([sent.id]);
      for (const [id, status] of [
        [sent.id, 'sent'],
        [dead.id, 'dead_letter'],
      ] as const) {
        const { message: record, finishedAt } = await see(id);
        expect(record.status).toBe(status);
        expect(Math.abs((finishedAt?.getTime() ?? 0) - Date.now())).toBeLessThan(20_000);
      }
      await park.stores.deadLetters.discard({}, 9);
      expect(await see(dead.id)).toMatchObject({
        message: { status: 'cancelled' },
        finishedAt: expect.any(Date),
      });
    });

    it('tells what goes before it in its key, and of nothing of other keys', async () => {
      const [head, second, third] = ofKey('k', 3);
      await park.publish([head!, second!, third!, ...ofKey('other', 2)]);
      expect(await see(third!.id)).toMatchObject({
        message: { status: 'blocked' },
        waiting: 0,
        ahead: { count: 2, first: { id: head!.id, status: 'pending' }, deadLetter: null },
      });
      expect(await see(head!.id)).toMatchObject({ waiting: 2, ahead: { count: 0, first: null } });
      expect(await see(second!.id)).toMatchObject({
        waiting: 1,
        ahead: { count: 1, first: { id: head!.id } },
      });
      // Nobody promoted it yet: nothing holds it, and yet it waits.
      await park.stores.outbox.complete([head!.id]);
      expect(await see(second!.id)).toMatchObject({
        message: { status: 'blocked' },
        ahead: { count: 0, first: null, deadLetter: null },
      });
    });

    it('names the dead letter that parks its key; where these are skipped, none does', async () => {
      const [dead, second, third] = await parked('k', 2);
      const record = { id: dead, status: 'dead_letter', lastError: 'refused', deadAt: expect.any(Date) };
      expect(await see(third!)).toMatchObject({ ahead: { count: 2, first: record, deadLetter: record } });
      expect(await see(dead!)).toMatchObject({ waiting: 2 });
      expect(await see(second!, skip)).toMatchObject({ ahead: { count: 0, first: null, deadLetter: null } });
      expect(await see(dead!, skip)).toMatchObject({ waiting: 0 });
    });

    it('names the first dead letter behind a first message that is not one', async () => {
      const [first, dead, waiting] = await parked('k', 2);
      // As it comes about where dead letters were skipped until now.
      await park.query(`UPDATE ${park.names.message} SET status = 'pending' WHERE id = '${first}'`);
      await park.query(`UPDATE ${park.names.message} SET status = 'dead_letter' WHERE id = '${dead}'`);
      expect(await see(waiting!)).toMatchObject({
        ahead: { count: 2, first: { id: first, status: 'pending' }, deadLetter: { id: dead } },
      });
      // Nothing holds a row that is not blocked, whatever lies before it in its key.
      await park.query(`UPDATE ${park.names.message} SET status = 'pending' WHERE id = '${waiting}'`);
      expect(await see(waiting!)).toMatchObject({ ahead: { count: 0, first: null, deadLetter: null } });
    });
  });

  describe('parked keys', () => {
    it('are counted, with the messages behind their dead letters, and with no others', async () => {
      await parked('one', 3);
      await parked('two', 1);
      await parked('nobody behind', 0);
      await park.publish([message()]);
      await bury();
      await park.publish(ofKey('alive', 5));
      expect(await park.stores.outbox.stats()).toMatchObject({
        pending: 9,
        blocked: 8,
        deadLetters: 4,
        parkedKeys: 2,
        parked: 4,
      });
      expect(await skip.stores.outbox.stats()).toMatchObject({ blocked: 8, parkedKeys: 0, parked: 0 });
    });

    it('do not count what a first message holds that is before the dead letter, nor a key twice', async () => {
      const [first, , dead, alsoDead] = await parked('k', 6);
      await park.query(`UPDATE ${park.names.message} SET status = 'pending' WHERE id = '${first}'`);
      for (const id of [dead, alsoDead]) {
        await park.query(`UPDATE ${park.names.message} SET status = 'dead_letter' WHERE id = '${id}'`);
      }
      expect(await park.stores.outbox.stats()).toMatchObject({
        blocked: 4,
        parkedKeys: 1,
        parked: 3,
        deadLetters: 2,
      });
    });

    it('are no more when the dead letter is redriven or discarded', async () => {
      const [one] = await parked('one', 2);
      await parked('two', 2);
      await park.stores.deadLetters.redrive({ ids: [one!] }, 9);
      expect(await park.stores.outbox.stats()).toMatchObject({ blocked: 4, parkedKeys: 1, parked: 2 });
      await park.stores.deadLetters.discard({}, 9);
      await park.stores.outbox.promote([hashOf('two')], null);
      expect(await park.stores.outbox.stats()).toMatchObject({ blocked: 3, parkedKeys: 0, parked: 0 });
    });

    it('are shown by their dead letters, each with how many wait', async () => {
      const [one] = await parked('one', 3);
      const [two] = await parked('two', 1);
      const [alone] = await parked('nobody behind', 0);
      const { deadLetters } = park.stores;
      const counts = async (filter: object, fixture = park): Promise<[string, number][]> => {
        const { items } = await fixture.stores.deadLetters.list(filter, { limit: 9 });
        return items.map(({ id, waiting }) => [id, waiting]);
      };
      expect(await counts({})).toEqual([
        [one, 3],
        [two, 1],
        [alone, 0],
      ]);
      expect(await counts({ parking: true })).toEqual([
        [one, 3],
        [two, 1],
      ]);
      expect(await counts({ parking: false })).toEqual([[alone, 0]]);
      expect(await counts({ parking: true, key: 'two' })).toEqual([[two, 1]]);
      expect(await deadLetters.count({ parking: true })).toBe(2);
      expect((await deadLetters.get(one!))?.waiting).toBe(3);
      expect(await counts({}, skip)).toEqual([one, two, alone].map((id) => [id, 0]));
      expect(await counts({ parking: true }, skip)).toEqual([]);
      const first = await deadLetters.list({ parking: true }, { limit: 1 });
      const second = await deadLetters.list({ parking: true }, { limit: 1, after: first.next! });
      expect([first.items[0]?.id, second.items[0]?.id, second.next]).toEqual([one, two, null]);
      expect(await deadLetters.redrive({ parking: true }, 9)).toHaveLength(2);
      expect((await deadLetters.discard({ parking: false }, 9)).ids).toEqual([alone]);
    });
  });

  it('waits for no open transaction', async () => {
    const [dead] = await parked('k', 0);
    const open = message({ key: 'k' });
    const runner = await park.begin();
    const birth = { token: 'mine', owner: 'me', leaseMs: 0, isolation: 'READ COMMITTED' };
    await park.stores.outbox.write(runner, [open], birth);
    const { outbox, deadLetters } = park.stores;
    for (const look of [
      () => outbox.stats(),
      () => outbox.inspect(open.id),
      () => deadLetters.list({ parking: false }, { limit: 9 }),
      () => deadLetters.redrive({ parking: true }, 9),
      () => deadLetters.discard({ parking: false }, 9),
    ]) {
      expect(await waitsForLock(park, look())).toBe(false);
    }
    expect(await see(dead!)).toMatchObject({ message: { status: 'cancelled' } });
    await runner.commitTransaction();
    await runner.release();
  });

  it.each(['', '-1', '1.5', '9223372036854775808', '1; DROP TABLE outbox_message', '99999999999999999999'])(
    'refuses %p as the place where a page begins, before any SQL',
    async (after) => {
      const listing = park.stores.deadLetters.list({}, { limit: 1, after });
      await expect(listing).rejects.toMatchObject({ code: 'OUTBOX_CONFIGURATION', option: 'after' });
    },
  );
}
