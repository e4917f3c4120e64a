import type { QueryRunner } from 'typeorm';
import type { InboxEntry } from '../../lib/core/inbox-store.port';
import type { IsolationLevel } from '../../lib/core/transactions.port';
import type { TestDatabaseType } from '../support/shared-servers';
import { openStores, type StoreFixture, waitsForLock } from './outbox-store.harness';

/** What every InboxStore does, for handlers' transactions of one isolation level. */
export function describeInboxStore(type: TestDatabaseType, isolation: IsolationLevel): void {
  let fixture: StoreFixture;
  const open: QueryRunner[] = [];
  beforeAll(async () => {
    fixture = await openStores(type, { isolation });
    await fixture.stores.inbox.verify();
  });
  afterEach(async () => {
    for (const runner of open.splice(0).filter(({ isReleased }) => !isReleased)) {
      if (runner.isTransactionActive) await runner.rollbackTransaction();
      await runner.release();
    }
    await fixture.clear();
  });
  afterAll(() => fixture?.drop());

  const inbox = (): StoreFixture['stores']['inbox'] => fixture.stores.inbox;
  const entry = (messageKey: string, consumer = 'cart'): InboxEntry => ({ consumer, messageKey });
  async function begin(): Promise<QueryRunner> {
    const runner = await fixture.begin();
    open.push(runner);
    return runner;
  }
  /** Adds in a transaction of its own. */
  async function add(...entries: InboxEntry[]): Promise<readonly InboxEntry[]> {
    const runner = await begin();
    const added = await inbox().add(runner, entries);
    await runner.commitTransaction();
    await runner.release();
    return added;
  }
  /** Adds as a consumer does: again at once, when the database asks for that. */
  async function addAgainAndAgain(...entries: InboxEntry[]): Promise<readonly InboxEntry[]> {
    for (;;) {
      const runner = await begin();
      try {
        const added = await inbox().add(runner, entries);
        await runner.commitTransaction();
        return added;
      } catch (error) {
        expect(inbox().isTransient(error)).toBe(true);
        await runner.rollbackTransaction();
      } finally {
        await runner.release();
      }
    }
  }

  it('knows a key once for each consumer', async () => {
    expect(await add(entry('1'))).toEqual([entry('1')]);
    expect(await add(entry('1'))).toEqual([]);
    expect(await add(entry('1', 'payment'))).toEqual([entry('1', 'payment')]);
    expect(await add()).toEqual([]);
  });

  it('forgets what was rolled back', async () => {
    const runner = await begin();
    expect(await inbox().add(runner, [entry('1')])).toHaveLength(1);
    await runner.rollbackTransaction();
    expect(await add(entry('1'))).toHaveLength(1);
  });

  it('tells the new ones of a batch, in their order, with one INSERT', async () => {
    await add(entry('b'), entry('d'));
    const runner = await begin();
    const query = jest.spyOn(runner, 'query');
    const batch = ['e', 'b', 'a', 'e', 'd', 'c'].map((key) => entry(key));
    expect(await inbox().add(runner, batch)).toEqual([entry('e'), entry('a'), entry('c')]);
    expect(query.mock.calls.length).toBe(type === 'postgres' ? 1 : 2);
    query.mockClear();
    expect(await inbox().add(runner, [entry('y'), entry('x')])).toEqual([entry('y'), entry('x')]);
    expect(query).toHaveBeenCalledTimes(1);
  });

  it('knows what its own transaction added before', async () => {
    const runner = await begin();
    expect(await inbox().add(runner, [entry('1')])).toHaveLength(1);
    expect(await inbox().add(runner, [entry('1'), entry('2')])).toEqual([entry('2')]);
  });

  it('compares by bytes: case, accent, blanks and emoji make another key', async () => {
    const keys = [
      'ORDER-A',
      'order-a',
      'order-á',
      'order-a ',
      ' order-a',
      'order-a😀',
      'order-a😁',
      'ss',
      'ß',
    ];
    for (const key of keys) expect(await add(entry(key))).toEqual([entry(key)]);
    expect(await add(...keys.map((key) => entry(key)))).toEqual([]);
    expect(await add(entry('1', 'Cart'), entry('1', 'cart'), entry('1', 'cart '))).toHaveLength(3);
  });

  it('takes keys of 255 bytes, and refuses longer ones, NULs and halves of characters before any SQL', async () => {
    const longest = 'é'.repeat(127) + 'a';
    expect(await add(entry(longest, longest))).toHaveLength(1);
    const query = jest.fn();
    for (const bad of [`${longest}a`, 'a\0', '\ud83d']) {
      await expect(inbox().add({ query }, [entry(bad)])).rejects.toMatchObject({ property: 'messageKey' });
      await expect(inbox().add({ query }, [entry('1'), entry('1', bad)])).rejects.toMatchObject({
        property: 'consumer',
      });
    }
    expect(query).not.toHaveBeenCalled();
  });

  it('waits for a concurrent add, and is new when that one rolls back', async () => {
    const [first, second] = [await begin(), await begin()];
    await inbox().add(first, [entry('1')]);
    const adding = inbox().add(second, [entry('1')]);
    expect(await waitsForLock(fixture, adding)).toBe(true);
    await first.rollbackTransaction();
    expect(await adding).toEqual([entry('1')]);
  });

  it('waits for a concurrent add, and is a duplicate when that one commits', async () => {
    const [first, second] = [await begin(), await begin()];
    // What fixes the snapshot of a stricter isolation, before the other one's commit.
    await second.query(`SELECT version FROM ${fixture.names.version}`);
    await inbox().add(first, [entry('1')]);
    const adding = inbox().add(second, [entry('1')]);
    expect(await waitsForLock(fixture, adding)).toBe(true);
    await first.commitTransaction();
    if (type === 'postgres' && isolation !== 'READ COMMITTED') {
      const error: unknown = await adding.catch((reason: unknown) => reason);
      expect(inbox().isTransient(error)).toBe(true);
      expect(inbox().isLockTimeout(error)).toBe(false);
    } else {
      expect(await adding).toEqual([]);
    }
    await second.rollbackTransaction();
    expect(await add(entry('1'))).toEqual([]);
  });

  it('is new for exactly one of many, even where the first rolls back and the others deadlock', async () => {
    for (let round = 0; round < 5; round += 1) {
      const one = entry(`k${round}`);
      const first = await begin();
      await inbox().add(first, [one]);
      const others = Promise.all(Array.from({ length: 3 }, () => addAgainAndAgain(one)));
      expect(await waitsForLock(fixture, others)).toBe(true);
      await first.rollbackTransaction();
      expect((await others).flat()).toEqual([one]);
      await first.release();
    }
  });

  it('is new for exactly one of many batches in any order', async () => {
    const keys = Array.from({ length: 30 }, (_, n) => entry(`k${n}`));
    const batches = await Promise.all(
      [keys, [...keys].reverse(), keys.slice(10, 20), keys].map((batch) => addAgainAndAgain(...batch)),
    );
    const added = batches.flat().map(({ messageKey }) => messageKey);
    expect(added).toHaveLength(30);
    expect(new Set(added).size).toBe(30);
  });

  describe('with a limit of the wait', () => {
    async function usualWait(runner: QueryRunner): Promise<unknown> {
      const variable = type === 'postgres' ? `current_setting('lock_timeout')` : '@@innodb_lock_wait_timeout';
      const rows = (await runner.query(`SELECT ${variable} AS wait`)) as { wait: unknown }[];
      return rows[0]?.wait;
    }

    it('ends the wait for a concurrent add', async () => {
      const [first, second] = [await begin(), await begin()];
      await inbox().add(first, [entry('2')]);
      const error: unknown = await inbox()
        .add(second, [entry('1'), entry('2'), entry('3')], 500)
        .catch((reason: unknown) => reason);
      expect(inbox().isLockTimeout(error)).toBe(true);
      await second.rollbackTransaction();
      await first.commitTransaction();
      expect(await add(entry('1'), entry('2'), entry('3'))).toEqual([entry('1'), entry('3')]);
    });

    it('ends the wait for a concurrent add of one entry, and is new within it when that one rolls back', async () => {
      const [first, second, third] = [await begin(), await begin(), await begin()];
      await inbox().add(first, [entry('1')]);
      const error: unknown = await inbox()
        .add(second, [entry('1')], 500)
        .catch((reason: unknown) => reason);
      expect(inbox().isLockTimeout(error)).toBe(true);
      const usual = await usualWait(third);
      const adding = inbox().add(third, [entry('1')], 60_000);
      expect(await waitsForLock(fixture, adding)).toBe(true);
      await first.rollbackTransaction();
      expect(await adding).toEqual([entry('1')]);
      expect(await usualWait(third)).toEqual(usual);
    });

    it("leaves the handler's own statements, and the connection's next user, the limit that they had", async () => {
      const runner = await begin();
      const usual = await usualWait(runner);
      expect(await inbox().add(runner, [entry('1'), entry('2')], 500)).toEqual([entry('1'), entry('2')]);
      expect(await usualWait(runner)).toEqual(usual);
      expect(await inbox().add(runner, [entry('1'), entry('2')], 500)).toEqual([]);
      expect(await usualWait(runner)).toEqual(usual);
      expect(await inbox().add(runner, [entry('3')], 500)).toEqual([entry('3')]);
      expect(await usualWait(runner)).toEqual(usual);
      expect(await inbox().add(runner, [entry('3')], 500)).toEqual([]);
      expect(await usualWait(runner)).toEqual(usual);
      await runner.commitTransaction();
      expect(await usualWait(runner)).toEqual(usual);
    });

    it('costs no statement of its own', async () => {
      const runner = await begin();
      await inbox().add(runner, [entry('0')]);
      const query = jest.spyOn(runner, 'query');
      await inbox().add(runner, [entry('1')], 500);
      expect(query).toHaveBeenCalledTimes(1);
    });
  });

  it('purges old entries in batches, and never waits for handlers that run', async () => {
    await add(...['1', '2', '3'].map((key) => entry(key)));
    const old = type === 'postgres' ? `processed_at - interval '10 s'` : 'processed_at - INTERVAL 10 SECOND';
    await fixture.query(`UPDATE ${fixture.names.inbox} SET processed_at = ${old}`);
    const runner = await begin();
    await inbox().add(runner, [entry('4')]);
    await add(entry('5'));
    expect(await inbox().purge(60_000, 10)).toBe(0);
    expect(await inbox().purge(5_000, 2)).toBe(2);
    expect(await inbox().purge(5_000, 2)).toBe(1);
    expect(await inbox().purge(5_000, 2)).toBe(0);
    await runner.commitTransaction();
    expect(await add(...['1', '2', '3', '4', '5'].map((key) => entry(key)))).toHaveLength(3);
  });
}
