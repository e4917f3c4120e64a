import { randomUUID } from 'node:crypto';
import { randomInt } from 'node:crypto';
import type { QueryRunner } from 'typeorm';
import type { ClaimedMessage, StagedMessage } from '../../lib/core/message';
import type {
  Chained,
  ClaimTerms,
  Completion,
  ReadAhead,
  WrittenMessage,
} from '../../lib/core/outbox-store.port';
import type { IsolationLevel } from '../../lib/core/transactions.port';
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

const LEASE_MS = 30_000;
const HOUR_MS = 3_600_000;

/** What every OutboxStore promises about messages that share a key, for transactions of one isolation level. */
export function describeKeyOrder(type: TestDatabaseType, isolation: IsolationLevel): void {
  /** Whether a transaction can know that it is the head of its key. */
  const knows = isolation === 'READ COMMITTED';
  const head = knows ? 'pending' : 'blocked';

  let fixture: StoreFixture;
  const open: QueryRunner[] = [];
  beforeAll(async () => {
    fixture = await openStores(type, { isolation });
  });
  afterEach(async () => {
    for (const runner of open.splice(0).filter(({ isReleased }) => !isReleased)) {
      if (runner.isTransactionActive) await runner.rollbackTransaction();
      await runner.release();
    }
    await fixture.clear();
  });
  afterAll(() => fixture?.drop());

  const store = (): StoreFixture['stores']['outbox'] => fixture.stores.outbox;
  async function begin(): Promise<QueryRunner> {
    const runner = await fixture.begin();
    open.push(runner);
    // A statement of the business, which is what fixes the snapshot of a stricter isolation.
    await runner.query(`SELECT count(*) FROM ${fixture.names.inbox}`);
    return runner;
  }
  const write = (runner: QueryRunner, ...messages: StagedMessage[]): Promise<readonly WrittenMessage[]> =>
    store().write(runner, messages, born({ isolation }));
  async function status(id: string): Promise<unknown> {
    return (await fixture.row(id)).status;
  }
  /** Publishes, and does what a dispatcher does after the commit. */
  async function publish(...messages: StagedMessage[]): Promise<void> {
    await fixture.publish(messages);
    await store().promote(
      [...new Set(messages.flatMap(({ keyHash }) => (keyHash === null ? [] : [keyHash])))],
      null,
    );
  }
  async function claimAll(): Promise<readonly ClaimedMessage[]> {
    return store().claim(['default'], 500, terms());
  }
  async function die(claimed: ClaimedMessage): Promise<void> {
    const failure = { id: claimed.id, token: claimed.token, error: 'refused', retryInMs: null };
    expect(await store().fail([failure])).toEqual([claimed.id]);
  }

  it('makes the second of two transactions with one key wait, and come after the first', async () => {
    const [one, two] = [message({ key: 'k' }), message({ key: 'k' })];
    const [first, second] = [await begin(), await begin()];
    expect(await write(first, one)).toEqual([{ id: one.id, status: head }]);
    const writing = write(second, two);
    expect(await waitsForLock(fixture, writing)).toBe(true);
    await first.commitTransaction();
    expect(await writing).toEqual([{ id: two.id, status: 'blocked' }]);
    await second.commitTransaction();
    const [row1, row2] = [await fixture.row(one.id), await fixture.row(two.id)];
    expect(BigInt(row1.seq as string) < BigInt(row2.seq as string)).toBe(true);
  });

  it('makes the second the head when the first rolls back', async () => {
    const [first, second] = [await begin(), await begin()];
    await write(first, message({ key: 'k' }));
    const two = message({ key: 'k' });
    const writing = write(second, two);
    expect(await waitsForLock(fixture, writing)).toBe(true);
    await first.rollbackTransaction();
    expect(await writing).toEqual([{ id: two.id, status: head }]);
    await second.commitTransaction();
    await store().promote([hashOf('k')], null);
    expect(await status(two.id)).toBe('pending');
  });

  it('lets different keys, and messages without one, pass each other', async () => {
    const [first, second] = [await begin(), await begin()];
    await write(first, message({ key: 'a' }), message());
    // "b" and "a" are in different buckets where locks are buckets.
    expect(hashOf('a') & 1023n).not.toBe(hashOf('b') & 1023n);
    const writing = write(second, message({ key: 'b' }), message());
    expect(await waitsForLock(fixture, writing)).toBe(false);
    expect((await writing).map(({ status }) => status)).toEqual([head, 'pending']);
  });

  it('lets two keys that differ in case or accent alone pass each other', async () => {
    await publish(message({ key: 'ORDER-A' }), message({ key: 'order-á' }), message({ key: 'order-a' }));
    expect(await claimAll()).toHaveLength(3);
  });

  it('never deadlocks over keys in another order', async () => {
    const rounds = Array.from({ length: 10 }, async (_, round) => {
      const keys = ['a', 'b', 'c', 'd'].map((key) => message({ key }));
      await fixture.publish(round % 2 === 0 ? keys : keys.reverse());
    });
    await expect(Promise.all(rounds)).resolves.toHaveLength(10);
  });

  it('lets the first of each key in a batch go, and blocks the others behind it', async () => {
    const runner = await begin();
    const query = jest.spyOn(runner, 'query');
    const batch = ['a', 'b', 'a', 'b', 'a'].map((key) => message({ key }));
    const written = await write(runner, ...batch, message());
    expect(written.map(({ status }) => status)).toEqual([
      head,
      head,
      'blocked',
      'blocked',
      'blocked',
      'pending',
    ]);
    // The lock, and the INSERT; on MySQL a transaction that can know has a look at the keys in between.
    expect(query.mock.calls.length).toBe(type === 'mysql' && knows ? 3 : 2);
    await runner.commitTransaction();
    const seqs = await Promise.all(
      batch.map(async ({ id }) => BigInt((await fixture.row(id)).seq as string)),
    );
    expect(seqs).toEqual([...seqs].sort((a, b) => (a < b ? -1 : 1)));
  });

  it('knows the head again when the key has run empty', async () => {
    await publish(message({ key: 'k' }));
    const [{ id }] = (await claimAll()) as [ClaimedMessage];
    const two = message({ key: 'k' });
    await fixture.publish([two]);
    expect(await status(two.id)).toBe('blocked');
    await store().complete([id]);
    await store().promote([hashOf('k')], null);
    const [second] = (await claimAll()) as [ClaimedMessage];
    expect(second.id).toBe(two.id);
    await store().complete([two.id]);
    const three = message({ key: 'k' });
    await fixture.publish([three]);
    expect(await status(three.id)).toBe(head);
  });

  it('locks thousands of keys in one transaction, and keeps others out of each', async () => {
    const runner = await begin();
    const keys = Array.from({ length: 2_000 }, (_, n) => `k${n}`);
    // One more than PostgreSQL takes in one INSERT: the last one is by itself there, and blocked all the same.
    const written = await write(runner, ...[...keys, 'k0'].map((key) => message({ key })));
    expect(written.at(-1)?.status).toBe('blocked');
    const writing = fixture.publish([message({ key: 'k1999' })]);
    expect(await waitsForLock(fixture, writing)).toBe(true);
    await runner.commitTransaction();
    await writing;
    await store().promote(keys.map(hashOf), null);
    expect(await store().stats()).toMatchObject({ pending: 2_002, blocked: 2 });
  });

  describe('promote', () => {
    it('frees a row of the claim that it was born with', async () => {
      const { id } = message();
      await fixture.publish([message({ key: 'k' }), message({ key: 'k', id })], {
        token: 'birth',
        leaseMs: LEASE_MS,
      });
      expect(await store().extend([id], 'birth', 1)).toEqual([]);
      await store().promote([hashOf('k')], terms());
      expect(await status(id)).toBe('blocked');
      const first = (await fixture.query(
        `SELECT id FROM ${fixture.names.message} WHERE status = 'pending'`,
      )) as { id: string }[];
      await store().complete(first.map((row) => row.id));
      expect(await store().promote([hashOf('k')], null)).toMatchObject({ promoted: 1 });
      expect(await fixture.row(id)).toMatchObject({ claim_token: null, claimed_by: null, claims: 0 });
      expect(await claimAll()).toMatchObject([{ id, claims: 1 }]);
    });

    it('moves the next one, and only when nothing holds the key', async () => {
      const [one, two, three] = [message({ key: 'k' }), message({ key: 'k' }), message({ key: 'k' })];
      await publish(one, two, three);
      expect(await store().promote([hashOf('k')], null)).toEqual({ promoted: 0, claimed: [] });
      const [claimed, ...others] = await claimAll();
      expect([claimed?.id, others.length]).toEqual([one.id, 0]);
      expect(await store().promote([hashOf('k')], null)).toEqual({ promoted: 0, claimed: [] });
      await store().complete([one.id]);
      expect(await store().promote([hashOf('k')], null)).toEqual({ promoted: 1, claimed: [] });
      expect(await store().promote([hashOf('k')], null)).toEqual({ promoted: 0, claimed: [] });
      expect((await claimAll()).map(({ id }) => id)).toEqual([two.id]);
      expect(await status(three.id)).toBe('blocked');
    });

    it('takes what it promotes for a caller that claims', async () => {
      const payload = Buffer.from([0, 255, 0]);
      const [one, two] = [message({ key: 'k' }), message({ key: 'k', payload, headers: { a: 'é' } })];
      await publish(one, two);
      await claimAll();
      await store().complete([one.id]);
      const claim = terms({ token: 'mine', owner: 'me', leaseMs: LEASE_MS });
      const { promoted, claimed } = await store().promote([hashOf('other'), hashOf('k')], claim);
      expect(promoted).toBe(1);
      expect(claimed).toMatchObject([
        { id: two.id, token: 'mine', claims: 1, attempts: 0, key: 'k', headers: { a: 'é' } },
      ]);
      expect(claimed[0]?.keyHash).toBe(hashOf('k'));
      expect(claimed[0]?.payload.equals(payload)).toBe(true);
      expect(await claimAll()).toEqual([]);
      await fixture.elapse(LEASE_MS);
      expect(await claimAll()).toMatchObject([{ id: two.id, claims: 2 }]);
    });

    it('gives a row to one of many that promote at once', async () => {
      const keys = Array.from({ length: 20 }, (_, n) => `k${n}`);
      await publish(...keys.flatMap((key) => [message({ key }), message({ key })]));
      await store().complete((await claimAll()).map(({ id }) => id));
      const promotions = await Promise.all(
        Array.from({ length: 6 }, () => store().promote(keys.map(hashOf), terms())),
      );
      expect(promotions.reduce((sum, { promoted }) => sum + promoted, 0)).toBe(20);
      expect(new Set(promotions.flatMap(({ claimed }) => claimed.map(({ id }) => id))).size).toBe(20);
    });

    it('keeps a delay, and a delayed message holds its key', async () => {
      const [delayed, next] = [
        message({ key: 'k', delayMs: HOUR_MS }),
        message({ key: 'k', delayMs: 2 * HOUR_MS }),
      ];
      await publish(delayed, next);
      expect(await status(delayed.id)).toBe('pending');
      expect(await claimAll()).toEqual([]);
      expect(await store().promote([hashOf('k')], terms())).toEqual({ promoted: 0, claimed: [] });
      await fixture.elapse(HOUR_MS);
      expect((await claimAll()).map(({ id }) => id)).toEqual([delayed.id]);
      await store().complete([delayed.id]);
      expect(await store().promote([hashOf('k')], terms())).toEqual({ promoted: 1, claimed: [] });
      expect(await claimAll()).toEqual([]);
      await fixture.elapse(HOUR_MS);
      expect((await claimAll()).map(({ id }) => id)).toEqual([next.id]);
    });

    it('leaves what has expired to the quarantine, which clears its key of it in one go', async () => {
      const expiring = Array.from({ length: 3 }, () => message({ key: 'k', expiresInMs: 1_000 }));
      const [one, alive, last] = [message({ key: 'k' }), message({ key: 'k' }), message({ key: 'k' })];
      const other = message({ key: 'other', expiresInMs: 1_000 });
      await publish(
        one,
        expiring[0]!,
        expiring[1]!,
        alive,
        expiring[2]!,
        last,
        message({ key: 'other' }),
        other,
      );
      const claimed = await claimAll();
      await fixture.elapse(1_000);
      // Behind a message that holds it, an expired one waits its turn like any other.
      expect(await store().quarantine(5, 10)).toEqual([]);
      await store().complete(claimed.filter(({ key }) => key === 'k').map(({ id }) => id));
      expect(await store().promote([hashOf('k')], terms())).toEqual({ promoted: 1, claimed: [] });
      const cancelled = await store().quarantine(5, 10);
      expect(cancelled.map(({ id }) => id).sort()).toEqual(expiring.map(({ id }) => id).sort());
      expect(new Set(cancelled.map((one) => one.status))).toEqual(new Set(['cancelled']));
      expect((await store().promote([hashOf('k')], terms())).claimed).toMatchObject([{ id: alive.id }]);
      expect([await status(last.id), await status(other.id)]).toEqual(['blocked', 'blocked']);
    });
  });

  describe('completing and promoting in one', () => {
    /** One statement may not see what happens while it runs, and then leaves the key to `promote`. */
    const inOne = type === 'postgres';
    const none: ReadAhead = { count: 0, bytes: 0 };

    async function completeAndPromote(
      ...completed: ClaimedMessage[]
    ): Promise<{ claimed: string[]; promoted: number; left: number }> {
      const first = await store().completeAndPromote(completed, terms(), none);
      expect(first.ahead).toEqual([]);
      const rest = await store().promote(first.left, terms());
      return {
        claimed: [...first.claimed, ...rest.claimed].map(({ id }) => id),
        promoted: first.promoted + rest.promoted,
        left: first.left.length,
      };
    }

    it('takes the next message of each key, with one statement where the server can', async () => {
      const [a, b] = [message({ key: 'a' }), message({ key: 'b' })];
      await publish(message({ key: 'a' }), a, message({ key: 'b' }), b, message({ key: 'c' }), message());
      const claimed = await claimAll();
      expect(claimed).toHaveLength(4);
      const { left, ...taken } = await completeAndPromote(...claimed);
      expect({ ...taken, claimed: taken.claimed.sort() }).toEqual({
        promoted: 2,
        claimed: [a.id, b.id].sort(),
      });
      expect(left).toBe(inOne ? 1 : 0);
      expect(await store().stats()).toMatchObject({ pending: 2, blocked: 0, due: 0, sent: 4 });
      expect(await fixture.row(a.id)).toMatchObject({ claimed_by: 'relay', claims: 1 });
    });

    it('promotes nothing behind a message that became a dead letter meanwhile', async () => {
      const [head, next] = [message({ key: 'k' }), message({ key: 'k' })];
      await publish(head, next);
      const [claimed] = (await claimAll()) as [ClaimedMessage];
      await die(claimed);
      expect(await completeAndPromote(claimed)).toMatchObject({
        claimed: [],
        promoted: 0,
        left: inOne ? 1 : 0,
      });
      expect([await status(head.id), await status(next.id)]).toEqual(['dead_letter', 'blocked']);
    });

    it('promotes nothing behind a message that is just becoming a dead letter', async () => {
      const [head, next] = [message({ key: 'k' }), message({ key: 'k' })];
      await publish(head, next);
      const [claimed] = (await claimAll()) as [ClaimedMessage];
      const other = await begin();
      await other.query(`UPDATE ${fixture.names.message} SET status = 'dead_letter' WHERE id = '${head.id}'`);
      const completing = completeAndPromote(claimed);
      expect(await waitsForLock(fixture, completing)).toBe(true);
      await other.commitTransaction();
      expect(await completing).toMatchObject({ claimed: [], promoted: 0 });
      expect([await status(head.id), await status(next.id)]).toEqual(['dead_letter', 'blocked']);
    });

    it('keeps a key that others complete and promote at the same time in order', async () => {
      const messages = Array.from({ length: 12 }, () => message({ key: 'k' }));
      await publish(...messages);
      const order: string[] = [];
      for (let [head] = await claimAll(); head !== undefined;) {
        order.push(head.id);
        const claims = await Promise.all([1, 2, 3].map(() => completeAndPromote(head as ClaimedMessage)));
        const next = claims.flatMap(({ claimed }) => claimed);
        expect(next.length).toBeLessThanOrEqual(1);
        await fixture.elapse(LEASE_MS);
        [head] = await claimAll();
        expect(head?.id).toBe(next[0]);
      }
      expect(order).toEqual(messages.map(({ id }) => id));
    });
  });

  describe('reading ahead', () => {
    const some: ReadAhead = { count: 10, bytes: 10_000 };
    const chain = (
      completed: readonly Completion[],
      ahead: ReadAhead = some,
      more: Partial<ClaimTerms> = {},
    ): Promise<Chained> => store().completeAndPromote(completed, terms(more), ahead);
    const ids = (messages: readonly { readonly id: string }[]): string[] => messages.map(({ id }) => id);
    /** Publishes them behind a first one of the key, which is claimed. */
    async function behindClaimed(...messages: StagedMessage[]): Promise<ClaimedMessage> {
      await publish(message({ key: 'k' }), ...messages);
      const [head] = await claimAll();
      return head as ClaimedMessage;
    }
    const keyed = (count: number, more: Partial<StagedMessage> = {}): StagedMessage[] =>
      Array.from({ length: count }, () => message({ key: 'k', ...more }));

    it('returns what follows the claimed one, in order, whole, and leaves it as it is', async () => {
      const payload = Buffer.from([0, 255, 0]);
      const messages = [...keyed(3), ...keyed(1, { payload, headers: { a: 'é' } })];
      const head = await behindClaimed(...messages);
      await publish(message({ key: 'other' }), message({ key: 'other' }));
      const before = await Promise.all(messages.slice(1).map(({ id }) => fixture.row(id)));
      const { claimed, ahead, promoted, left } = await chain([head], some, { token: 'mine' });
      expect({ claimed: ids(claimed), promoted, left }).toEqual({
        claimed: [messages[0]!.id],
        promoted: 1,
        left: [],
      });
      expect(ids(ahead)).toEqual(ids(messages.slice(1)));
      expect(ahead[2]).toMatchObject({ token: 'mine', key: 'k', attempts: 0, headers: { a: 'é' } });
      expect(ahead[2]?.keyHash).toBe(hashOf('k'));
      expect(ahead[2]?.payload.equals(payload)).toBe(true);
      expect(ahead[2]?.leaseEndsAtMs).toBe(claimed[0]?.leaseEndsAtMs);
      expect(await Promise.all(messages.slice(1).map(({ id }) => fixture.row(id)))).toEqual(before);
    });

    it('is bounded in number and bytes', async () => {
      const messages = keyed(6, { payload: Buffer.alloc(100) });
      const head = await behindClaimed(...messages);
      const { claimed, ahead } = await chain([head], { count: 2, bytes: 10_000 });
      expect(ids(ahead)).toEqual(ids(messages.slice(1, 3)));
      const byBytes = await chain(claimed, { count: 10, bytes: 399 });
      expect(ids(byBytes.ahead)).toEqual(ids(messages.slice(2, 5)));
      const none = await chain(byBytes.claimed, { count: 10, bytes: 99 });
      expect([ids(none.claimed), none.ahead]).toEqual([[messages[2]!.id], []]);
    });

    it.each([
      ['has a delay', { delayMs: HOUR_MS }],
      ['can expire', { expiresInMs: HOUR_MS }],
    ])('ends before one that %s', async (_, more) => {
      const messages = [...keyed(2), ...keyed(1, more), ...keyed(2)];
      const head = await behindClaimed(...messages);
      const { claimed, ahead } = await chain([head]);
      expect([...ids(claimed), ...ids(ahead)]).toEqual(ids(messages.slice(0, 2)));
    });

    it('ends before one that cannot be read', async () => {
      const messages = keyed(4);
      const head = await behindClaimed(...messages);
      await fixture.query(
        `UPDATE ${fixture.names.message} SET headers = '[]' WHERE id = '${messages[2]!.id}'`,
      );
      const { claimed, ahead } = await chain([head]);
      expect([...ids(claimed), ...ids(ahead)]).toEqual(ids(messages.slice(0, 2)));
    });

    it('ends before a dead letter, as one is left where dead letters were skipped once', async () => {
      const messages = keyed(4);
      const head = await behindClaimed(...messages);
      await fixture.query(
        `UPDATE ${fixture.names.message} SET status = 'dead_letter' WHERE id = '${messages[2]!.id}'`,
      );
      const { claimed, ahead } = await chain([head]);
      expect([...ids(claimed), ...ids(ahead)]).toEqual(ids(messages.slice(0, 2)));
    });

    it('reads nothing behind one that was promoted and not taken', async () => {
      const head = await behindClaimed(...keyed(1, { delayMs: HOUR_MS }), ...keyed(2));
      expect(await chain([head])).toMatchObject({ promoted: 1, claimed: [], ahead: [] });
    });

    it('completes a run: what was read ahead from where it is, and its head', async () => {
      const messages = keyed(8);
      const head = await behindClaimed(...messages);
      const run = await chain([head], { count: 3, bytes: 10_000 });
      const confirmed = [...run.ahead.slice(0, 2).map(({ id }) => ({ id, keyHash: null })), ...run.claimed];
      const next = await chain(confirmed);
      expect([ids(next.claimed), ids(next.ahead)]).toEqual([[messages[3]!.id], ids(messages.slice(4))]);
      expect(await Promise.all(messages.slice(0, 5).map(({ id }) => status(id)))).toEqual([
        ...['sent', 'sent', 'sent', 'pending', 'blocked'],
      ]);
      const [sent] = await Promise.all(messages.slice(1, 2).map(({ id }) => fixture.row(id)));
      expect(sent).toMatchObject({ claim_token: null, claimed_by: null });
      expect([sent?.sent_at, sent?.finished_at]).not.toContain(null);
      // Once more: nothing is left to do, and nothing is promoted past the one that is pending now.
      expect(await chain(confirmed)).toMatchObject({ promoted: 0, claimed: [], ahead: [] });
    });

    it('holds the key with the head while only what is behind it is written down', async () => {
      const messages = keyed(4);
      const head = await behindClaimed(...messages);
      const { claimed, ahead } = await chain([head]);
      expect(await store().complete(ids(ahead.slice(0, 2)))).toBe(2);
      expect(await store().promote([hashOf('k')], terms())).toMatchObject({ promoted: 0 });
      expect(await store().sweep(10)).toBe(0);
      expect((await chain(claimed)).claimed).toMatchObject([{ id: messages[3]!.id }]);
    });

    it('reads on behind what was read, while that is written down and the first one holds the key', async () => {
      const messages = keyed(8);
      const head = await behindClaimed(...messages);
      const { claimed, ahead } = await chain([head], { count: 4, bytes: 10_000 });
      const done = ahead.slice(0, 2).map(({ id }) => ({ id, keyHash: null }));
      const next = await chain(done, { count: 2, bytes: 10_000, behind: [ahead[3]!.id] }, { token: 'later' });
      expect(next).toMatchObject({ promoted: 0, claimed: [], ahead: [], left: [] });
      expect(ids(next.further)).toEqual(ids(messages.slice(5, 7)));
      expect(next.further[0]).toMatchObject({ token: 'later', key: 'k', keyHash: hashOf('k') });
      expect(await Promise.all(messages.map(({ id }) => status(id)))).toEqual([
        ...['pending', 'sent', 'sent', 'blocked', 'blocked', 'blocked', 'blocked', 'blocked'],
      ]);
      // Behind one that is written down in the same statement, too, and up to the end.
      const rest = [...ahead.slice(2), ...next.further].map(({ id }) => ({ id, keyHash: null }));
      const last = await chain(rest, { ...some, behind: [next.further[1]!.id] });
      expect(ids(last.further)).toEqual([messages[7]!.id]);
      const none = await chain(rest, { ...some, behind: [messages[7]!.id] });
      expect(none.further).toEqual([]);
      expect((await chain(claimed)).claimed).toMatchObject([{ id: messages[7]!.id }]);
    });

    it('reads on in several keys at once, and behind a row that is gone nothing', async () => {
      const mine = keyed(2);
      const others = Array.from({ length: 2 }, () => message({ key: 'other' }));
      await publish(message({ key: 'k' }), ...mine, message({ key: 'other' }), ...others);
      const claimed = await claimAll();
      const behind = [...claimed.map(({ id }) => id), randomUUID()];
      const { further } = await chain([{ id: randomUUID(), keyHash: null }], { ...some, behind });
      expect(ids(further)).toEqual(ids([...mine, ...others]));
    });

    it.each([
      ['a delay', { delayMs: HOUR_MS }],
      ['an expiry', { expiresInMs: HOUR_MS }],
      ['headers that nobody can read', { headers: { broken: 'yes' } }],
    ])('reads on up to one with %s', async (_, more) => {
      const special = message({ key: 'k', ...more });
      const messages = [...keyed(3), special, ...keyed(1)];
      const head = await behindClaimed(...messages);
      if ('headers' in more)
        await fixture.query(`UPDATE ${fixture.names.message} SET headers = '[]' WHERE id = '${special.id}'`);
      const { ahead } = await chain([head], { count: 1, bytes: 10_000 });
      const { further } = await chain([{ id: ahead[0]!.id, keyHash: null }], {
        ...some,
        behind: [ahead[0]!.id],
      });
      expect(ids(further)).toEqual([messages[2]!.id]);
    });

    it('takes the word of one who lost its lease, and promotes nothing past who has the key now', async () => {
      const messages = keyed(6);
      const first = await chain([await behindClaimed(...messages)]);
      await fixture.elapse(LEASE_MS);
      // Another relay takes the head, which the first one has sent, and reads ahead itself when that is through.
      const others = await chain(await claimAll(), { count: 2, bytes: 10_000 });
      expect(ids(others.claimed)).toEqual([messages[1]!.id]);
      const late = await chain([
        ...first.ahead.slice(0, 3).map(({ id }) => ({ id, keyHash: null })),
        { id: first.claimed[0]!.id, keyHash: hashOf('k') },
      ]);
      // Those three were sent indeed: so the one after them is next.
      expect([ids(late.claimed), ids(late.ahead)]).toEqual([[messages[4]!.id], [messages[5]!.id]]);
      const overtaken = await chain([
        ...others.ahead.map(({ id }) => ({ id, keyHash: null })),
        ...others.claimed,
      ]);
      expect(overtaken).toMatchObject({ promoted: 0, claimed: [] });
      expect(await Promise.all(messages.map(({ id }) => status(id)))).toEqual([
        ...['sent', 'sent', 'sent', 'sent', 'pending', 'blocked'],
      ]);
    });

    it('fails what was refused in a run, once the run is written down', async () => {
      const messages = keyed(4);
      const head = await behindClaimed(...messages);
      const { claimed, ahead } = await chain([head]);
      const refused = ahead[1] as ClaimedMessage;
      const failure = { id: refused.id, error: 'no', retryInMs: HOUR_MS };
      expect(await store().fail([{ ...failure, token: refused.token }])).toEqual([]);
      await store().release([{ id: refused.id, token: refused.token, afterMs: 0 }]);
      expect(await status(refused.id)).toBe('blocked');
      const next = await chain([{ id: ahead[0]!.id, keyHash: null }, ...claimed]);
      expect(ids(next.claimed)).toEqual([refused.id]);
      expect(await store().fail([{ ...failure, token: next.claimed[0]!.token }])).toEqual([refused.id]);
      expect(await store().promote([hashOf('k')], terms())).toMatchObject({ promoted: 0 });
      expect(await fixture.row(refused.id)).toMatchObject({ status: 'pending', attempts: 1 });
    });
  });

  describe('a dead letter', () => {
    it('parks its key until it is redriven, discarded or purged', async () => {
      const next = message({ key: 'k' });
      await publish(message({ key: 'k' }), next);
      const [dead] = (await claimAll()) as [ClaimedMessage];
      await die(dead);
      expect(await store().promote([hashOf('k')], null)).toMatchObject({ promoted: 0 });
      expect(await store().sweep(10)).toBe(0);
      const late = message({ key: 'k' });
      await publish(late);
      expect(await status(late.id)).toBe('blocked');
      expect(await fixture.stores.deadLetters.redrive({}, 10)).toEqual([dead.id]);
      expect((await claimAll()).map(({ id }) => id)).toEqual([dead.id]);
      await store().complete([dead.id]);
      await store().promote([hashOf('k')], null);
      expect((await claimAll()).map(({ id }) => id)).toEqual([next.id]);
    });

    it('frees its key when it is purged, within a sweep', async () => {
      const next = message({ key: 'k' });
      await publish(message({ key: 'k' }), next);
      await die((await claimAll())[0] as ClaimedMessage);
      await fixture.elapse(1_000);
      expect(await store().purge({ status: 'dead_letter', olderThanMs: 500, limit: 10 })).toBe(1);
      expect(await store().sweep(10)).toBe(1);
      expect((await claimAll()).map(({ id }) => id)).toEqual([next.id]);
    });
  });

  describe('sweep', () => {
    it('promotes what a crash left blocked, and nothing that waits its turn', async () => {
      const keys = Array.from({ length: 30 }, (_, n) => `k${n}`);
      await publish(...keys.flatMap((key) => [message({ key }), message({ key })]));
      const claimed = await claimAll();
      await store().complete(claimed.slice(0, 12).map(({ id }) => id));
      expect(await store().sweep(5)).toBe(5);
      const rest = (await store().sweep(100)) + (await store().sweep(100));
      expect(rest).toBe(7);
      expect(await store().sweep(100)).toBe(0);
      expect(await store().stats()).toMatchObject({ pending: 48, blocked: 18 });
    });
  });

  it('sends each key in commit order, whoever crashes or rolls back', async () => {
    const keys = ['a', 'b', 'c'];
    const sent = new Map<string, string[]>(keys.map((key) => [key, []]));
    let publishing = true;

    /** Sends as a relay does; now and then it dies between two steps. */
    async function send(claimed: readonly ClaimedMessage[]): Promise<void> {
      for (const one of claimed) {
        if (randomInt(20) === 0) continue;
        sent.get(one.key ?? '')?.push(one.id);
        await store().complete([one.id]);
        if (randomInt(5) === 0) continue;
        const { claimed: next } = await store().promote([one.keyHash as bigint], terms());
        await send(next);
      }
    }
    async function publisher(): Promise<void> {
      for (let round = 0; round < 8; round += 1) {
        const messages = Array.from({ length: 1 + randomInt(3) }, () =>
          message({ key: keys[randomInt(3)] as string }),
        );
        const runner = await fixture.begin();
        await store().write(runner, messages, born({ isolation }));
        if (randomInt(5) === 0) await runner.rollbackTransaction();
        else await runner.commitTransaction();
        await runner.release();
        if (randomInt(3) > 0)
          await send(
            (await store().promote([...new Set(messages.map(({ key }) => hashOf(key ?? '')))], terms()))
              .claimed,
          );
      }
    }
    async function relay(): Promise<void> {
      for (let idle = false; publishing || !idle;) {
        const claimed = await claimAll();
        await send(claimed);
        const swept = publishing ? 0 : await store().sweep(100);
        if (!publishing) await fixture.elapse(LEASE_MS);
        idle = claimed.length === 0 && swept === 0 && (await store().stats()).pending === 0;
      }
    }
    const publishers = Promise.all([publisher(), publisher(), publisher(), publisher()]).finally(
      () => (publishing = false),
    );
    await Promise.all([publishers, relay(), relay()]);

    const rows = (await fixture.query(
      `SELECT id, "key" FROM ${fixture.names.message} ORDER BY seq`.replaceAll(
        '"',
        type === 'mysql' ? '`' : '"',
      ),
    )) as { id: string; key: string }[];
    for (const key of keys) {
      const firstCopies = [...new Set(sent.get(key))];
      expect(firstCopies).toEqual(rows.filter((row) => row.key === key).map(({ id }) => id));
    }
  });
}
