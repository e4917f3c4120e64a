import { randomBytes, randomUUID } from 'node:crypto';
import { InvalidMessageError } from '../../lib/core/errors';
import type { ClaimedMessage, StagedMessage } from '../../lib/core/message';
import type { TestDatabaseType } from '../support/shared-servers';
import { born, message, openStores, type StoreFixture, terms, waitsForLock } from './outbox-store.harness';

const LEASE_MS = 30_000;

/** What every OutboxStore does with messages, whatever it is made of. The order of keys has a suite of its own. */
export function describeOutboxStore(type: TestDatabaseType): void {
  let fixture: StoreFixture;
  beforeAll(async () => {
    fixture = await openStores(type, { clock: { ...stillClock } });
    await fixture.stores.outbox.verify();
  });
  afterEach(() => fixture.clear());
  afterAll(() => fixture?.drop());

  const store = (): StoreFixture['stores']['outbox'] => fixture.stores.outbox;
  const claimAll = (more = {}): Promise<readonly ClaimedMessage[]> =>
    store().claim(['default'], 100, terms(more));
  async function claimOne(more = {}): Promise<ClaimedMessage> {
    const [claimed] = await claimAll(more);
    if (claimed === undefined) throw new Error('Nothing was due');
    return claimed;
  }
  async function publish(...messages: StagedMessage[]): Promise<StagedMessage> {
    await fixture.publish(messages);
    return messages[0] as StagedMessage;
  }

  describe('write', () => {
    it('gives back every byte of what it was given', async () => {
      const sent = message({
        key: 'order-á 1 ',
        tenant: 'acme',
        contentEncoding: 'gzip',
        schemaVersion: 3,
        payload: randomBytes(1_048_576),
        headers: { nul: 'a\u0000b', emoji: '👩‍👩‍👧 \u{1F600}', quote: `'"\\\n`, half: '\ud83d' },
      });
      await fixture.publish([sent], {}, 'READ COMMITTED');
      const { delayMs: _delay, expiresInMs: _expires, payload, ...content } = sent;
      const claimed = await claimOne();
      expect(claimed).toMatchObject(content);
      // Not by a matcher: the difference of two megabytes takes one for ever to print.
      expect(claimed.payload.equals(payload)).toBe(true);
    });

    it('writes nothing when the transaction rolls back', async () => {
      const runner = await fixture.begin();
      await store().write(runner, [message()], born());
      await runner.rollbackTransaction();
      await runner.release();
      expect(await claimAll()).toEqual([]);
    });

    it('shows nobody a row before the commit', async () => {
      const runner = await fixture.begin();
      await store().write(runner, [message()], born());
      expect(await claimAll()).toEqual([]);
      expect(await store().stats()).toMatchObject({ pending: 0, oldestUnsentMs: 0 });
      await runner.commitTransaction();
      await runner.release();
      expect(await claimAll()).toHaveLength(1);
    });

    it('answers in the order of the messages, and sends one INSERT', async () => {
      const messages = Array.from({ length: 50 }, () => message());
      const runner = await fixture.begin();
      const query = jest.spyOn(runner, 'query');
      const written = await store().write(runner, messages, born());
      expect(query).toHaveBeenCalledTimes(1);
      expect(written).toEqual(messages.map(({ id }) => ({ id, status: 'pending' })));
      await runner.commitTransaction();
      await runner.release();
      expect((await claimAll()).map(({ id }) => id)).toEqual(messages.map(({ id }) => id));
    });

    it('cuts what does not fit into one statement', async () => {
      const payload = Buffer.alloc(3 * 1_048_576, 1);
      await fixture.publish([message({ payload }), message({ payload }), message({ payload })]);
      await fixture.publish(Array.from({ length: 2_500 }, () => message()));
      expect((await store().stats()).pending).toBe(2_503);
    });

    it('bears rows leased to the process that writes them', async () => {
      const { id } = message();
      await fixture.publish([message({ id })], { token: 'mine', owner: 'host-1', leaseMs: LEASE_MS });
      expect(await claimAll()).toEqual([]);
      expect(await fixture.row(id)).toMatchObject({ claim_token: 'mine', claimed_by: 'host-1', claims: 1 });
      await fixture.elapse(LEASE_MS + 1);
      expect(await claimOne()).toMatchObject({ id, claims: 2 });
    });

    it('bears a delayed message unclaimed, and due after its delay', async () => {
      const { id } = message();
      await fixture.publish([message({ id, delayMs: 60_000 })], { token: 'mine', leaseMs: LEASE_MS });
      expect(await fixture.row(id)).toMatchObject({ claim_token: null, claims: 0, status: 'pending' });
      expect(await claimAll()).toEqual([]);
      const dueInMs = await store().nextDueInMs(['default']);
      expect(dueInMs).toBeGreaterThan(50_000);
      expect(dueInMs).toBeLessThanOrEqual(60_000);
      await fixture.elapse(60_000);
      expect(await claimOne()).toMatchObject({ id, claims: 1 });
    });

    it('refuses an id that is taken, by name', async () => {
      const { id } = await publish(message());
      const again = fixture.publish([message(), message({ id, type: 'order.paid' })]);
      await expect(again).rejects.toThrow(InvalidMessageError);
      await expect(again).rejects.toMatchObject({ property: 'id', messageType: 'order.paid' });
      await expect(again).rejects.toThrow(id);
    });

    it('refuses the same id twice in one batch', async () => {
      const { id } = message();
      await expect(fixture.publish([message({ id }), message({ id })])).rejects.toMatchObject({
        property: 'id',
      });
    });

    it.each([
      ['id', { id: 'order-1' }],
      ['key', { key: 'é'.repeat(128) }],
      ['key', { key: 'a\0b' }],
      ['key', { key: 'half \ud83d' }],
      ['type', { type: 'x'.repeat(256) }],
      ['destination', { destination: 'x'.repeat(256) }],
      ['tenant', { tenant: 'x'.repeat(256) }],
      ['schemaVersion', { schemaVersion: 2 ** 31 }],
      ['delayMs', { delayMs: -1 }],
      ['delayMs', { delayMs: Number.NaN }],
      ['expiresInMs', { expiresInMs: Number.POSITIVE_INFINITY }],
    ] as const)('refuses a bad %s before any SQL', async (property, more) => {
      const query = jest.fn();
      await expect(store().write({ query }, [message(more)], born())).rejects.toMatchObject({ property });
      expect(query).not.toHaveBeenCalled();
    });

    it('takes what is just short enough', async () => {
      const long = 'é'.repeat(127) + 'a';
      const sent = message({ key: long, type: long, destination: long, tenant: long, source: long });
      await fixture.publish([sent], {}, 'READ COMMITTED');
      expect(await claimOne()).toMatchObject({ key: long, type: long });
    });
  });

  describe('claim', () => {
    it('takes due rows of the transports asked for, oldest first, up to the limit', async () => {
      const first = await publish(message());
      const other = await publish(message({ transport: 'other' }));
      const second = await publish(message());
      await publish(message({ transport: 'third' }));
      expect((await store().claim(['other', 'default'], 2, terms())).map(({ id }) => id)).toEqual([
        first.id,
        other.id,
      ]);
      expect((await store().claim(['other', 'default'], 2, terms())).map(({ id }) => id)).toEqual([
        second.id,
      ]);
      expect(await store().claim([], 2, terms())).toEqual([]);
    });

    it('leases them from then on, on the clock of this process too', async () => {
      await publish(message());
      const claimed = await claimOne({ token: 'a', owner: 'relay-1', leaseMs: 5_000 });
      const leaseEndsAtMs = fixture.clock.monotonicMs() + 5_000;
      expect(claimed).toMatchObject({ token: 'a', claims: 1, attempts: 0, leaseEndsAtMs });
      expect(claimed.createdAt.getTime()).toBeGreaterThan(Date.now() - 60_000);
      expect(claimed.createdAt.getTime()).toBeLessThan(Date.now() + 60_000);
      expect(await claimAll()).toEqual([]);
      expect(await fixture.row(claimed.id)).toMatchObject({ claim_token: 'a', claimed_by: 'relay-1' });
    });

    it('gives a row stranded by a crash to somebody else when its lease is over', async () => {
      const { id } = await publish(message());
      await claimOne({ token: 'crashed', leaseMs: LEASE_MS });
      await fixture.elapse(LEASE_MS / 2);
      expect(await claimAll()).toEqual([]);
      await fixture.elapse(LEASE_MS / 2);
      expect(await claimOne({ token: 'heir' })).toMatchObject({ id, token: 'heir', claims: 2 });
    });

    it('gives each row to one of many that claim at once', async () => {
      await fixture.publish(Array.from({ length: 200 }, () => message()));
      const claims = await Promise.all(
        Array.from({ length: 8 }, () => store().claim(['default'], 50, terms())),
      );
      const ids = claims.flat().map(({ id }) => id);
      expect(new Set(ids).size).toBe(ids.length);
      const rest = await store().claim(['default'], 500, terms());
      expect(ids.length + rest.length).toBe(200);
    });

    it('skips a row that somebody has locked, and does not wait', async () => {
      const [locked, free] = [await publish(message()), await publish(message())];
      const runner = await fixture.begin('READ COMMITTED');
      await runner.query(`SELECT id FROM ${fixture.names.message} WHERE id = '${locked.id}' FOR UPDATE`);
      expect((await claimAll()).map(({ id }) => id)).toEqual([free.id]);
      await runner.rollbackTransaction();
      await runner.release();
      expect((await claimAll()).map(({ id }) => id)).toEqual([locked.id]);
    });

    it('does not block an application that inserts', async () => {
      await fixture.publish(Array.from({ length: 20 }, () => message()));
      const runner = await fixture.begin('REPEATABLE READ');
      await store().write(runner, [message()], born());
      const claiming = claimAll();
      await fixture.publish([message()], {}, 'REPEATABLE READ');
      expect(await claiming).not.toHaveLength(0);
      await runner.commitTransaction();
      await runner.release();
      expect((await store().stats()).pending).toBe(22);
    });

    it('leaves out what was taken too often, and what has expired', async () => {
      await publish(message(), message({ expiresInMs: 1_000 }));
      await fixture.elapse(1_000);
      expect(await claimAll({ claimsMax: 1 })).toHaveLength(1);
      await fixture.elapse(LEASE_MS);
      expect(await claimAll({ claimsMax: 1 })).toEqual([]);
      expect(await store().nextDueInMs(['default'])).toBeNull();
    });
  });

  describe('complete', () => {
    it('makes rows sent, once', async () => {
      await publish(message(), message(), message());
      const ids = (await claimAll()).map(({ id }) => id);
      expect(await store().complete(ids)).toBe(3);
      expect(await store().complete(ids)).toBe(0);
      expect(await store().complete([])).toBe(0);
      const row = await fixture.row(ids[0] as string);
      expect(row).toMatchObject({ status: 'sent', claim_token: null, claimed_by: null });
      expect(row.sent_at).toEqual(row.finished_at);
      expect(row.sent_at).toBeInstanceOf(Date);
      expect(await store().stats()).toMatchObject({ pending: 0, sent: 3, oldestUnsentMs: 0 });
    });

    it('counts however late it comes: after the lease is lost to another', async () => {
      await publish(message());
      const slow = await claimOne();
      await fixture.elapse(LEASE_MS);
      const heir = await claimOne();
      expect(await store().complete([slow.id])).toBe(1);
      expect(await store().fail([{ id: heir.id, token: heir.token, error: 'late', retryInMs: 0 }])).toEqual(
        [],
      );
      expect(await fixture.row(slow.id)).toMatchObject({ status: 'sent', attempts: 0 });
    });

    it('names a thousand rows in any order at once with others', async () => {
      await fixture.publish(Array.from({ length: 1_200 }, () => message()));
      const ids = (await store().claim(['default'], 2_000, terms())).map(({ id }) => id);
      expect(ids).toHaveLength(1_200);
      const counts = await Promise.all([ids, [...ids].reverse(), ids].map((some) => store().complete(some)));
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(1_200);
    });
  });

  describe('fail', () => {
    it('backs off, spends an attempt, and forgets the claims', async () => {
      await publish(message());
      const { id, token } = await claimOne();
      expect(await store().fail([{ id, token, error: 'no such exchange', retryInMs: 60_000 }])).toEqual([id]);
      expect(await fixture.row(id)).toMatchObject({
        status: 'pending',
        attempts: 1,
        claims: 0,
        claim_token: null,
        last_error: 'no such exchange',
      });
      expect(await claimAll()).toEqual([]);
      await fixture.elapse(60_000);
      expect(await claimOne()).toMatchObject({ id, attempts: 1, claims: 1 });
    });

    it('makes a dead letter where there is no next time', async () => {
      await publish(message(), message());
      const [dead, again] = (await claimAll()) as [ClaimedMessage, ClaimedMessage];
      const error = `${'x'.repeat(999)}👍\0`;
      const failures = [
        { id: dead.id, token: dead.token, error, retryInMs: null },
        { id: again.id, token: again.token, error: 'b', retryInMs: 0 },
      ];
      expect([...(await store().fail(failures))].sort()).toEqual([dead.id, again.id].sort());
      const row = await fixture.row(dead.id);
      expect(row).toMatchObject({
        status: 'dead_letter',
        attempts: 1,
        last_error: `${'x'.repeat(999)}\uFFFD`,
      });
      expect(row.dead_at).toBeInstanceOf(Date);
      expect(await store().stats()).toMatchObject({ pending: 1, deadLetters: 1 });
      expect((await claimAll()).map(({ id }) => id)).toEqual([again.id]);
    });

    it('is fenced by the token: a lost lease changes nothing', async () => {
      await publish(message());
      const lost = await claimOne();
      await fixture.elapse(LEASE_MS);
      const heir = await claimOne();
      expect(await store().fail([{ id: lost.id, token: lost.token, error: 'x', retryInMs: null }])).toEqual(
        [],
      );
      expect(await fixture.row(heir.id)).toMatchObject({
        status: 'pending',
        claim_token: heir.token,
        attempts: 0,
      });
    });

    it.each(['first', 'last'])(
      'tells a lost lease from its heir in one batch, the lost one %s',
      async (place) => {
        await publish(message());
        const lost = await claimOne();
        await fixture.elapse(LEASE_MS);
        const heir = await claimOne();
        const failures = [
          { id: lost.id, token: lost.token, error: 'lost', retryInMs: null },
          { id: heir.id, token: heir.token, error: 'heir', retryInMs: 0 },
        ];
        expect(await store().fail(place === 'first' ? failures : failures.reverse())).toEqual([heir.id]);
        expect(await fixture.row(heir.id)).toMatchObject({
          status: 'pending',
          attempts: 1,
          last_error: 'heir',
        });
      },
    );
  });

  describe('release', () => {
    it('gives claims back, with their count', async () => {
      await publish(message(), message());
      const [now, later] = (await claimAll()) as [ClaimedMessage, ClaimedMessage];
      await store().release([
        { id: now.id, token: now.token, afterMs: 0 },
        { id: later.id, token: later.token, afterMs: 10_000 },
      ]);
      expect(await claimOne()).toMatchObject({ id: now.id, claims: 1, attempts: 0 });
      expect(await fixture.row(later.id)).toMatchObject({ claims: 0, claim_token: null, claimed_by: null });
      expect((await store().stats()).oldestUnsentMs).toBeGreaterThan(0);
      await fixture.elapse(10_000, later.id);
      expect(await claimOne()).toMatchObject({ id: later.id });
      await store().release([]);
    });

    it('is fenced by the token', async () => {
      await publish(message());
      const lost = await claimOne();
      await fixture.elapse(LEASE_MS);
      const heir = await claimOne();
      await store().release([{ id: lost.id, token: lost.token, afterMs: 0 }]);
      expect(await fixture.row(heir.id)).toMatchObject({ claim_token: heir.token, claims: 2 });
      expect(await claimAll()).toEqual([]);
    });
  });

  describe('extend', () => {
    it('prolongs leases that are still held, and says which', async () => {
      await publish(message(), message());
      const [held, gone] = (await claimAll({ token: 'mine', leaseMs: LEASE_MS })) as [
        ClaimedMessage,
        ClaimedMessage,
      ];
      await fixture.elapse(LEASE_MS, gone.id);
      await claimAll({ token: 'theirs' });
      expect(await store().extend([held.id, gone.id], 'mine', 3 * LEASE_MS)).toEqual([held.id]);
      await fixture.elapse(2 * LEASE_MS);
      expect((await claimAll()).map(({ id }) => id)).toEqual([gone.id]);
      expect(await store().extend([], 'mine', 1)).toEqual([]);
    });
  });

  describe('quarantine', () => {
    it('makes dead letters of rows that were taken too often without an outcome', async () => {
      const { id } = await publish(message(), message());
      for (let taken = 0; taken < 3; taken += 1) {
        const claimed = await claimAll();
        await store().release(claimed.filter((one) => one.id !== id).map((one) => ({ ...one, afterMs: 0 })));
        if (taken < 2) await fixture.elapse(LEASE_MS);
      }
      expect(await store().quarantine(3, 10)).toEqual([]);
      await fixture.elapse(LEASE_MS);
      const [quarantined, ...others] = await store().quarantine(3, 10);
      expect(others).toEqual([]);
      expect(quarantined).toMatchObject({ id, status: 'dead_letter', claims: 3, attempts: 0 });
      expect(quarantined?.lastError).toMatch(/3 times/);
      expect(quarantined?.deadAt).toBeInstanceOf(Date);
      expect(await store().quarantine(3, 10)).toEqual([]);
      expect(await claimAll()).toHaveLength(1);
    });

    it('does so with a limit of one taking', async () => {
      await publish(message());
      await claimAll();
      await fixture.elapse(LEASE_MS);
      expect(await store().quarantine(1, 10)).toHaveLength(1);
    });

    it('cancels what expired, but not under a lease', async () => {
      const { id } = await publish(message({ expiresInMs: LEASE_MS / 2 }));
      await claimAll();
      await fixture.elapse(LEASE_MS / 2);
      expect(await store().quarantine(5, 10)).toEqual([]);
      await fixture.elapse(LEASE_MS);
      expect(await store().quarantine(5, 10)).toMatchObject([{ id, status: 'cancelled', deadAt: null }]);
      expect((await fixture.row(id)).last_error).toMatch(/Expired/);
      expect(await store().purge({ status: 'cancelled', olderThanMs: -1_000, limit: 10 })).toBe(1);
    });

    it('takes no more than its limit', async () => {
      await fixture.publish(Array.from({ length: 3 }, () => message({ expiresInMs: 0 })));
      expect(await store().quarantine(5, 2)).toHaveLength(2);
      expect(await store().quarantine(5, 2)).toHaveLength(1);
    });
  });

  describe('nextDueInMs', () => {
    it('is null for nothing, 0 for something due, and the time to the next otherwise', async () => {
      expect(await store().nextDueInMs(['default'])).toBeNull();
      expect(await store().nextDueInMs([])).toBeNull();
      await publish(message({ delayMs: 60_000 }), message({ transport: 'other' }));
      expect(await store().nextDueInMs(['default'])).toBeGreaterThan(1_000);
      expect(await store().nextDueInMs(['default', 'other'])).toBe(0);
    });
  });

  describe('stats', () => {
    it('counts what waits, and how long the oldest has', async () => {
      await publish(message());
      await fixture.elapse(60_000);
      await publish(message(), message({ delayMs: 3_600_000 }));
      await fixture.publish([message()], { leaseMs: LEASE_MS });
      const stats = await store().stats();
      expect(stats).toMatchObject({ pending: 4, blocked: 0, due: 2, deadLetters: 0, sent: 0 });
      expect(stats.oldestUnsentMs).toBeGreaterThanOrEqual(60_000);
      expect(stats.oldestUnsentMs).toBeLessThan(120_000);
    });

    it('never reads zero while something waits, leased or backing off', async () => {
      await publish(message());
      expect((await store().stats()).oldestUnsentMs).toBeGreaterThan(0);
      const { id, token } = await claimOne();
      expect((await store().stats()).oldestUnsentMs).toBeGreaterThan(0);
      await store().fail([{ id, token, error: 'x', retryInMs: 3_600_000 }]);
      expect((await store().stats()).oldestUnsentMs).toBeGreaterThan(0);
    });

    it('does not count the age of what is delayed on purpose, until its time', async () => {
      await publish(message({ delayMs: 60_000 }));
      expect(await store().stats()).toMatchObject({ pending: 1, due: 0, oldestUnsentMs: 0 });
      await fixture.elapse(61_000);
      const { oldestUnsentMs } = await store().stats();
      expect(oldestUnsentMs).toBeGreaterThanOrEqual(1_000);
      expect(oldestUnsentMs).toBeLessThan(20_000);
    });

    it('counts sent messages while they are few', async () => {
      await fixture.publish(Array.from({ length: 300 }, () => message()));
      await store().complete((await store().claim(['default'], 300, terms())).map(({ id }) => id));
      expect((await store().stats()).sent).toBe(300);
    });
  });

  describe('purge', () => {
    it('deletes finished rows that are old enough, in batches, and nothing else', async () => {
      await fixture.publish(Array.from({ length: 5 }, () => message()));
      const claimed = await claimAll();
      await store().complete(claimed.slice(0, 3).map(({ id }) => id));
      const dead = claimed[3] as ClaimedMessage;
      await store().fail([{ id: dead.id, token: dead.token, error: 'x', retryInMs: null }]);
      await fixture.elapse(10_000);
      expect(await store().purge({ status: 'sent', olderThanMs: 20_000, limit: 10 })).toBe(0);
      expect(await store().purge({ status: 'sent', olderThanMs: 5_000, limit: 2 })).toBe(2);
      expect(await store().purge({ status: 'sent', olderThanMs: 5_000, limit: 2 })).toBe(1);
      expect(await store().purge({ status: 'cancelled', olderThanMs: 0, limit: 2 })).toBe(0);
      expect(await store().stats()).toMatchObject({ sent: 0, deadLetters: 1, pending: 1 });
      expect(await store().purge({ status: 'dead_letter', olderThanMs: 5_000, limit: 2 })).toBe(1);
    });

    it('shares the work with other cleaners', async () => {
      await fixture.publish(Array.from({ length: 100 }, () => message()));
      await store().complete((await claimAll()).map(({ id }) => id));
      await fixture.elapse(1_000);
      const counts = await Promise.all(
        [1, 2, 3].map(() => store().purge({ status: 'sent', olderThanMs: 1, limit: 100 })),
      );
      const rest = await store().purge({ status: 'sent', olderThanMs: 1, limit: 100 });
      expect(counts.reduce((sum, count) => sum + count, rest)).toBe(100);
    });
  });

  it('never waits for a long transaction that wrote rows of its own', async () => {
    const runner = await fixture.begin();
    await store().write(runner, [message({ key: 'a' }), message()], born());
    const work = (async () => {
      await publish(message());
      const claimed = await claimAll();
      await store().complete(claimed.map(({ id }) => id));
      await store().quarantine(1, 10);
      await store().sweep(10);
      await store().stats();
      await store().nextDueInMs(['default']);
      return store().purge({ status: 'sent', olderThanMs: 0, limit: 10 });
    })();
    expect(await waitsForLock(fixture, work)).toBe(false);
    await runner.rollbackTransaction();
    await runner.release();
    await expect(work).resolves.toBeLessThanOrEqual(1);
  });

  it('closes twice', async () => {
    const other = await openStores(type);
    await other.stores.outbox.claim(['default'], 1, terms({ token: randomUUID() }));
    await other.stores.outbox.close();
    await other.stores.outbox.close();
    await expect(other.stores.outbox.stats()).rejects.toThrow('closed');
    await other.drop();
  });
}

const STILL_MS = 1_000;
const stillClock = { monotonicMs: () => STILL_MS, wallMs: () => Date.now(), after: () => () => undefined };
