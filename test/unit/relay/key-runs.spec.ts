import { CONFIRMED, FakeTransport, refused, UNREACHABLE } from '../support/fake-transport';
import { ManualClock, settled } from '../support/manual-clock';
import { FakeDatabase } from '../support/fake-database';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';
import { stagedMessage } from '../support/staged-message';

describe('a run of messages with one key', () => {
  const fixtures: RelayFixture[] = [];

  function start(given: GivenRelay = {}): RelayFixture {
    const fixture = new RelayFixture(given);
    fixtures.push(fixture);
    return fixture;
  }

  const keyed = (count: number, key = 'k'): { key: string }[] =>
    Array.from({ length: count }, () => ({ key }));

  /** The broker takes its time with these: a test settles them itself. */
  function holdUp(fixture: RelayFixture, ids: readonly (string | undefined)[]): void {
    fixture.transport.answer = ({ id }) => (ids.includes(id) ? 'never' : CONFIRMED);
  }

  afterEach(async () => {
    for (const fixture of fixtures.splice(0)) {
      expect(fixture.transport.violations).toEqual([]);
      await fixture.stop();
    }
  });

  it('leaves with no statement in between, one message at a time, and is written down at once', async () => {
    const fixture = start();
    const ids = [...(await fixture.publish({ key: 'k' }))];
    const staged = Array.from({ length: 12 }, () => stagedMessage({ key: 'k' }));
    holdUp(fixture, [staged[5]!.id]);
    const commit = await fixture.prepare(staged);
    commit();
    await settled(60);
    ids.push(...staged.map(({ id }) => id));
    // It stands still in the middle of the run: what is confirmed is not written down yet.
    expect(fixture.transport.sentIds).toEqual(ids.slice(0, 7));
    const statements = fixture.database.statements.length;
    expect(ids.slice(0, 7).map((id) => fixture.statusOf(id))).toEqual([
      ...['sent', 'sent', 'sent', 'pending', 'blocked', 'blocked', 'blocked'],
    ]);
    fixture.transport.settle(staged[5]!.id);
    await settled(60);
    expect(fixture.transport.sentIds).toEqual(ids);
    expect(fixture.transport.pendingMax).toBe(1);
    expect(ids.map((id) => fixture.statusOf(id))).toEqual(ids.map(() => 'sent'));
    expect(fixture.database.statements.slice(statements)).toEqual(['completeAndPromote', 'promote']);
    expect(fixture.eventsOf('message.sent').map(({ id }) => id)).toEqual(expect.arrayContaining(ids));
    expect(fixture.eventsOf('message.sent')).toHaveLength(13);
  });

  it('counts as in hand, and flush() waits for it', async () => {
    const fixture = start();
    const staged = Array.from({ length: 8 }, () => stagedMessage({ key: 'k' }));
    holdUp(fixture, [staged[4]!.id]);
    (await fixture.prepare(staged))();
    await settled(60);
    expect((await fixture.relay.stats()).inFlight).toBeGreaterThan(1);
    let flushed = false;
    const flush = fixture.relay.flush().then(() => (flushed = true));
    await settled(60);
    expect(flushed).toBe(false);
    fixture.transport.settle(staged[4]!.id);
    await fixture.clock.advance(200);
    await flush;
    expect(staged.map(({ id }) => fixture.statusOf(id))).toEqual(staged.map(() => 'sent'));
    expect((await fixture.relay.stats()).inFlight).toBe(0);
  });

  it('ends at a refusal, which is told once those before it are written down, and costs one sending', async () => {
    const fixture = start();
    const staged = Array.from({ length: 8 }, () => stagedMessage({ key: 'k' }));
    const ids = staged.map(({ id }) => id);
    let refusals = 0;
    fixture.transport.answer = ({ id }) => (id === ids[5] && refusals++ === 0 ? refused() : CONFIRMED);
    (await fixture.prepare(staged))();
    await fixture.clock.advance(900);
    expect(fixture.transport.sentIds).toEqual(ids.slice(0, 6));
    expect(ids.slice(4).map((id) => fixture.statusOf(id))).toEqual(['sent', 'pending', 'blocked', 'blocked']);
    expect(fixture.database.row(ids[5]!)).toMatchObject({ attempts: 1, token: null });
    expect(fixture.eventsOf('message.retry')).toMatchObject([{ id: ids[5], attempts: 1 }]);
    await fixture.clock.advance(300);
    expect(fixture.transport.sentIds).toEqual([...ids.slice(0, 6), ...ids.slice(5)]);
    expect(fixture.database.row(ids[5]!).completions).toBe(1);
  });

  it.each([
    ['park', 'blocked'],
    ['skip', 'sent'],
  ] as const)('ends at a dead letter, onDeadLetter: %s', async (onDeadLetter, then) => {
    const fixture = start({ settings: { onDeadLetter } });
    const staged = Array.from({ length: 8 }, () => stagedMessage({ key: 'k' }));
    const ids = staged.map(({ id }) => id);
    fixture.transport.answer = ({ id }) => (id === ids[4] ? refused(false) : CONFIRMED);
    (await fixture.prepare(staged))();
    await fixture.clock.advance(100);
    expect(ids.slice(3).map((id) => fixture.statusOf(id))).toEqual([
      ...['sent', 'dead_letter', then, then, then],
    ]);
    expect(fixture.eventsOf('message.deadLetter')).toMatchObject([{ id: ids[4] }]);
  });

  it('ends when the broker is gone: what is confirmed is written down, the rest goes again', async () => {
    const fixture = start();
    const staged = Array.from({ length: 8 }, () => stagedMessage({ key: 'k' }));
    const ids = staged.map(({ id }) => id);
    let failures = 0;
    fixture.transport.answer = ({ id }) => (id === ids[5] && failures++ === 0 ? UNREACHABLE : CONFIRMED);
    fixture.transport.reachable = false;
    (await fixture.prepare(staged))();
    await fixture.clock.advance(900);
    expect(ids.slice(4).map((id) => fixture.statusOf(id))).toEqual(['sent', 'pending', 'blocked', 'blocked']);
    expect(fixture.database.row(ids[5]!)).toMatchObject({ attempts: 0, claims: 0, token: null });
    fixture.transport.reachable = true;
    await fixture.clock.advance(5_000);
    expect(fixture.transport.sentIds).toEqual([...ids.slice(0, 6), ...ids.slice(5)]);
  });

  it('ends when the transport is paused', async () => {
    const fixture = start();
    const staged = Array.from({ length: 8 }, () => stagedMessage({ key: 'k' }));
    const ids = staged.map(({ id }) => id);
    holdUp(fixture, [ids[4]]);
    (await fixture.prepare(staged))();
    await settled(60);
    fixture.relay.pause();
    fixture.transport.settle(ids[4]!);
    await fixture.clock.advance(100);
    expect(fixture.transport.sentIds).toEqual(ids.slice(0, 5));
    expect(ids.slice(4).map((id) => fixture.statusOf(id))).toEqual(['sent', 'pending', 'blocked', 'blocked']);
    expect((await fixture.relay.stats()).inFlight).toBe(0);
    fixture.relay.resume();
    await fixture.clock.advance(2_000);
    expect(fixture.transport.sentIds).toEqual(ids);
  });

  it('ends at the shutdown, in which the confirmation that is on its way still counts', async () => {
    const fixture = start();
    const staged = Array.from({ length: 8 }, () => stagedMessage({ key: 'k' }));
    const ids = staged.map(({ id }) => id);
    holdUp(fixture, [ids[4]]);
    (await fixture.prepare(staged))();
    await settled(60);
    const stopped = fixture.relay.stop();
    await settled(20);
    fixture.transport.settle(ids[4]!);
    await fixture.clock.advance(100);
    await stopped;
    expect(fixture.transport.sentIds).toEqual(ids.slice(0, 5));
    expect(ids.slice(3).map((id) => fixture.statusOf(id))).toEqual([
      ...['sent', 'sent', 'pending', 'blocked', 'blocked'],
    ]);
    expect(fixture.database.row(ids[5]!)).toMatchObject({ token: null });
  });

  it('is written down at the shutdown without the one that has no outcome', async () => {
    const fixture = start();
    const staged = Array.from({ length: 8 }, () => stagedMessage({ key: 'k' }));
    const ids = staged.map(({ id }) => id);
    holdUp(fixture, [ids[4]]);
    (await fixture.prepare(staged))();
    await settled(60);
    const stopped = fixture.relay.stop();
    await fixture.clock.advance(12_000);
    await stopped;
    expect(ids.slice(2).map((id) => fixture.statusOf(id))).toEqual([
      ...['sent', 'sent', 'pending', 'blocked', 'blocked', 'blocked'],
    ]);
    // It comes late, and counts.
    fixture.transport.settle(ids[4]!);
    await fixture.relay.close();
    expect(fixture.statusOf(ids[4]!)).toBe('sent');
    expect(fixture.database.row(ids[4]!).completions).toBe(1);
  });

  it('ends with a message that has no outcome within the lease; a late confirmation counts', async () => {
    const fixture = start({ settings: { relay: { leaseMs: 12_000 } } });
    const staged = Array.from({ length: 8 }, () => stagedMessage({ key: 'k' }));
    const ids = staged.map(({ id }) => id);
    holdUp(fixture, [ids[4]]);
    (await fixture.prepare(staged))();
    await fixture.clock.advance(11_000);
    expect(fixture.transport.sentIds).toEqual(ids.slice(0, 5));
    const { message, settle } = fixture.transport.pending.get(ids[4]!)!;
    fixture.transport.pending.delete(ids[4]!);
    holdUp(fixture, []);
    await fixture.clock.advance(5_000);
    settle(message, CONFIRMED);
    await fixture.clock.advance(100);
    expect(ids.map((id) => fixture.statusOf(id))).toEqual(ids.map(() => 'sent'));
    expect(fixture.transport.sentIds).toEqual([...ids.slice(0, 5), ...ids.slice(4)]);
    expect(fixture.database.rows.map(({ completions }) => completions)).toEqual(ids.map(() => 1));
  });

  it('does not go on with less left of the lease than a sending may take', async () => {
    const fixture = start({ settings: { relay: { leaseMs: 12_000 } } });
    const staged = Array.from({ length: 8 }, () => stagedMessage({ key: 'k' }));
    const ids = staged.map(({ id }) => id);
    holdUp(fixture, [ids[2]]);
    (await fixture.prepare(staged))();
    await fixture.clock.advance(3_000);
    expect(fixture.transport.sentIds).toEqual(ids.slice(0, 3));
    const written: string[] = [];
    fixture.transport.onSend = () => written.push(fixture.statusOf(ids[2]!));
    fixture.transport.settle(ids[2]!);
    await settled(60);
    expect(fixture.transport.sentIds).toEqual(ids);
    expect(new Set(written)).toEqual(new Set(['sent']));
  });

  describe('that is long', () => {
    const SEND_MS = 10;
    const STATEMENT_MS = 40;

    /** Broker and database take their time. */
    function slow(fixture: RelayFixture): { sentAt: Map<string, number> } {
      const sentAt = new Map<string, number>();
      fixture.transport.answer = ({ id }) => {
        sentAt.set(id, fixture.clock.monotonicMs());
        return new Promise((resolve) => fixture.clock.after(SEND_MS, () => resolve(CONFIRMED)));
      };
      fixture.database.before = () =>
        new Promise((resolve) => fixture.clock.after(STATEMENT_MS, () => resolve()));
      return { sentAt };
    }

    const many = (count: number): ReturnType<typeof stagedMessage>[] =>
      Array.from({ length: count }, () => stagedMessage({ key: 'k' }));

    async function commit(fixture: RelayFixture, staged: ReturnType<typeof many>): Promise<string[]> {
      const { before } = fixture.database;
      fixture.database.before = () => undefined;
      (await fixture.prepare(staged))();
      fixture.database.before = before;
      return staged.map(({ id }) => id);
    }

    it('does not stand still while a part of it is written down and more is read', async () => {
      const fixture = start();
      const { sentAt } = slow(fixture);
      const ids = await commit(fixture, many(150));
      await fixture.clock.advance(1_300);
      // Its head holds the key, and what is confirmed behind it is written down but for the latest.
      const statuses = ids.map((id) => fixture.statusOf(id));
      const head = statuses.indexOf('pending');
      expect(statuses.filter((one) => one === 'pending')).toHaveLength(1);
      const written = statuses.filter((one, at) => at > head && one === 'sent').length;
      expect(written).toBeGreaterThan(40);
      expect(fixture.transport.sent.length - head - written).toBeLessThanOrEqual(250 / SEND_MS);
      await fixture.clock.advance(2_000);
      expect(fixture.transport.sentIds).toEqual(ids);
      expect(fixture.transport.pendingMax).toBe(1);
      const pauses = ids.slice(1).map((id, at) => sentAt.get(id)! - sentAt.get(ids[at]!)!);
      // The first messages find out how much there is.
      expect(pauses.slice(40).filter((ms) => ms > SEND_MS)).toEqual([]);
      expect(fixture.database.rows.map(({ completions }) => completions)).toEqual(ids.map(() => 1));
      expect(fixture.aheadInHand()).toBe(0);
      fixture.database.before = () => undefined;
      expect((await fixture.relay.stats()).inFlight).toBe(0);
    });

    it('ends after two seconds: until then its head is seen as unsent', async () => {
      const fixture = start();
      slow(fixture);
      const ids = await commit(fixture, many(600));
      let head = '';
      let since = 0;
      let longest = 0;
      for (let ms = 0; ms < 8_000; ms += 20) {
        await fixture.clock.advance(20);
        const now = ids.find((id) => fixture.statusOf(id) === 'pending') ?? '';
        if (now !== head) [head, since] = [now, fixture.clock.monotonicMs()];
        if (head !== '') longest = Math.max(longest, fixture.clock.monotonicMs() - since);
      }
      expect(fixture.transport.sentIds).toEqual(ids);
      expect(longest).toBeGreaterThan(1_500);
      expect(longest).toBeLessThanOrEqual(2_000 + 3 * STATEMENT_MS);
    });

    it('ends after a quarter of a second where others wait for its place', async () => {
      const fixture = start({ transports: { main: new FakeTransport({ concurrencyMax: 1 }) } });
      slow(fixture);
      const ids = await commit(fixture, many(100));
      for (let ms = 0; ms < 5_000; ms += 10) {
        await fixture.clock.advance(10);
        // Nothing is written down behind its head, except with it.
        const statuses = ids.map((id) => fixture.statusOf(id));
        expect(statuses.lastIndexOf('sent')).toBeLessThan(statuses.indexOf('pending') >>> 0);
      }
      expect(fixture.transport.sentIds).toEqual(ids);
      // 250 ms are 25 of these.
      expect(fixture.count('completeAndPromote')).toBeGreaterThanOrEqual(4);
    });

    it('ends when its statement does not come back: no more is sent than may be sent twice', async () => {
      const fixture = start();
      slow(fixture);
      const ids = await commit(fixture, many(150));
      await fixture.clock.advance(800);
      fixture.database.before = () => new Promise(() => undefined);
      await fixture.clock.advance(10_000);
      const { length } = fixture.transport.sent;
      const unwritten = ids.slice(0, length).filter((id) => fixture.statusOf(id) !== 'sent');
      expect(unwritten.length).toBeGreaterThan(1);
      expect(unwritten.length).toBeLessThanOrEqual(1 + 250 / SEND_MS);
    });

    it('goes on where it failed to be written down, once the database is back', async () => {
      const fixture = start();
      slow(fixture);
      const ids = await commit(fixture, many(150));
      await fixture.clock.advance(800);
      const { before } = fixture.database;
      fixture.database.before = () => {
        throw new Error('connection reset');
      };
      await fixture.clock.advance(1_000);
      fixture.database.before = before;
      await fixture.clock.advance(10_000);
      expect(fixture.transport.sentIds).toEqual(ids);
      expect(fixture.database.rows.map(({ completions }) => completions)).toEqual(ids.map(() => 1));
      expect(fixture.aheadInHand()).toBe(0);
    });

    it('goes again from its head when its process dies, without what was written down', async () => {
      const database = new FakeDatabase(new ManualClock());
      const first = new RelayFixture({ database });
      slow(first);
      const ids = await commit(first, many(150));
      await first.clock.advance(800);
      const sent = first.transport.sent.length;
      database.before = () => undefined;
      // Nothing it does reaches the database any more, and nobody hears of what it sends.
      first.store.completeAndPromote = () => new Promise(() => undefined);
      first.store.complete = () => new Promise(() => undefined);
      first.store.claim = () => Promise.resolve([]);
      first.transport.answer = () => 'never';
      await settled(60);
      const unwritten = ids.filter((id) => database.row(id).status !== 'sent');
      const second = start({ database });
      await second.clock.advance(40_000);
      expect(second.transport.sentIds).toEqual(unwritten);
      expect(ids.indexOf(unwritten[1]!) - ids.indexOf(unwritten[0]!)).toBeGreaterThan(5);
      expect(sent - ids.indexOf(unwritten[1]!)).toBeLessThanOrEqual(250 / SEND_MS);
      expect(ids.map((id) => second.statusOf(id))).toEqual(ids.map(() => 'sent'));
    });

    it('ends at a refusal behind what was written down', async () => {
      const fixture = start();
      slow(fixture);
      const staged = many(100);
      const { answer } = fixture.transport;
      let refusals = 0;
      fixture.transport.answer = (message) =>
        message.id === staged[70]!.id && refusals++ === 0 ? refused() : answer(message);
      const ids = await commit(fixture, staged);
      await fixture.clock.advance(10_000);
      expect(fixture.transport.sentIds).toEqual([...ids.slice(0, 71), ...ids.slice(70)]);
      expect(fixture.database.row(ids[70]!)).toMatchObject({ attempts: 1, completions: 1 });
    });

    it('keeps the order of first copies when its process stood still for longer than its lease', async () => {
      const database = new FakeDatabase(new ManualClock());
      const [first, second] = [start({ database }), start({ database, started: false })];
      slow(first);
      slow(second);
      const sent: string[] = [];
      first.transport.onSend = ({ id }) => sent.push(id);
      second.transport.onSend = ({ id }) => sent.push(id);
      const ids = await commit(first, many(200));
      await first.clock.advance(900);
      for (const row of database.rows) if (row.status === 'pending') row.nextAttemptMs = database.nowMs;
      second.start();
      await first.clock.advance(20_000);
      expect(second.transport.sent.length).toBeGreaterThan(0);
      expect([...new Set(sent)]).toEqual(ids);
      expect(ids.map((id) => first.statusOf(id))).toEqual(ids.map(() => 'sent'));
      expect(database.rows.map(({ completions }) => completions)).toEqual(ids.map(() => 1));
    });

    it('ends at the shutdown, written down', async () => {
      const fixture = start();
      slow(fixture);
      const ids = await commit(fixture, many(150));
      await fixture.clock.advance(800);
      const stopped = fixture.relay.stop();
      await fixture.clock.advance(2_000);
      await stopped;
      const { length } = fixture.transport.sent;
      expect(length).toBeLessThan(100);
      expect(ids.slice(0, length).map((id) => fixture.statusOf(id))).toEqual(
        ids.slice(0, length).map(() => 'sent'),
      );
      expect(fixture.aheadInHand()).toBe(0);
    });
  });

  it.each([
    ['a delay', { delayMs: 60_000 }],
    ['an expiry', { expiresInMs: 60_000 }],
  ])('ends before a message with %s', async (_, more) => {
    const fixture = start();
    const staged = [...Array.from({ length: 5 }, () => stagedMessage({ key: 'k' }))];
    const special = stagedMessage({ key: 'k', ...more });
    const after = stagedMessage({ key: 'k' });
    (await fixture.prepare([...staged, special, after]))();
    await fixture.clock.advance(1_000);
    const delayed = 'delayMs' in more;
    expect(fixture.transport.sentIds).toEqual([
      ...staged.map(({ id }) => id),
      ...(delayed ? [] : [special.id, after.id]),
    ]);
    await fixture.clock.advance(60_000);
    expect(fixture.transport.sentIds.slice(5)).toEqual([special.id, after.id]);
  });

  it('reads no more ahead than may be in flight, of all keys together', async () => {
    const fixture = start({ settings: { relay: { inFlightMax: 20 } } });
    const keys = Array.from({ length: 8 }, (_, n) => `key-${n}`);
    let most = 0;
    fixture.transport.onSend = () => {
      most = Math.max(most, fixture.aheadInHand());
    };
    const ids = new Map<string, string[]>();
    for (const key of keys) ids.set(key, await fixture.publish(...keyed(12, key)));
    await fixture.clock.advance(2_000);
    for (const key of keys) {
      expect(fixture.transport.sent.filter((one) => one.key === key).map(({ id }) => id)).toEqual(
        ids.get(key),
      );
    }
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(20);
    expect(fixture.aheadInHand()).toBe(0);
  });

  it('leaves room for others', async () => {
    const fixture = start({ transports: { main: new FakeTransport({ concurrencyMax: 2 }) } });
    fixture.transport.answer = () =>
      new Promise((resolve) => fixture.clock.after(10, () => resolve(CONFIRMED)));
    await fixture.publish(...keyed(60));
    await fixture.clock.advance(100);
    const others = await fixture.publish({}, {}, {});
    await fixture.clock.advance(50);
    expect(others.map((id) => fixture.statusOf(id))).toEqual(['sent', 'sent', 'sent']);
    await fixture.clock.advance(2_000);
    expect(fixture.transport.sent).toHaveLength(63);
  });

  it('is none where handlers confirm: their leases are renewed one by one', async () => {
    const fixture = start({
      transports: { main: new FakeTransport({ confirms: 'handlers', sendTimeoutMs: 0 }) },
    });
    const ids = await fixture.publish(...keyed(10));
    await settled(200);
    expect(fixture.transport.sentIds).toEqual(ids);
    expect(fixture.count('completeAndPromote')).toBe(9);
  });

  it('keeps the order of first copies when the process stood still for longer than its lease', async () => {
    const database = new FakeDatabase(new ManualClock());
    const [first, second] = [start({ database }), start({ database, started: false })];
    const staged = Array.from({ length: 10 }, () => stagedMessage({ key: 'k' }));
    const ids = staged.map(({ id }) => id);
    holdUp(first, [ids[5]]);
    (await first.prepare(staged))();
    await settled(60);
    expect(first.transport.sentIds).toEqual(ids.slice(0, 6));
    // Its timers do not run, and the other one finds the head due.
    for (const row of database.rows) if (row.status === 'pending') row.nextAttemptMs = database.nowMs;
    const sent: string[] = [...first.transport.sentIds];
    first.transport.onSend = ({ id }) => sent.push(id);
    second.transport.onSend = ({ id }) => sent.push(id);
    second.start();
    await settled(8);
    first.transport.settle(ids[5]!);
    await first.clock.advance(2_000);
    expect([...new Set(sent)]).toEqual(ids);
    expect(ids.map((id) => first.statusOf(id))).toEqual(ids.map(() => 'sent'));
    expect(database.rows.map(({ completions }) => completions)).toEqual(ids.map(() => 1));
  });

  it('goes again from its head when its process dies', async () => {
    const database = new FakeDatabase(new ManualClock());
    const first = new RelayFixture({ database });
    const staged = Array.from({ length: 8 }, () => stagedMessage({ key: 'k' }));
    const ids = staged.map(({ id }) => id);
    holdUp(first, [ids[5]]);
    (await first.prepare(staged))();
    await settled(60);
    expect(first.transport.sentIds).toEqual(ids.slice(0, 6));
    // Nothing it does reaches the database any more.
    first.store.completeAndPromote = () => new Promise(() => undefined);
    first.store.complete = () => new Promise(() => undefined);
    first.store.claim = () => Promise.resolve([]);
    first.transport.answer = () => 'never';
    const second = start({ database });
    await second.clock.advance(40_000);
    expect(second.transport.sentIds).toEqual(ids.slice(2));
    expect(ids.map((id) => second.statusOf(id))).toEqual(ids.map(() => 'sent'));
  });

  it('makes room again when its statement fails, and is then written down once', async () => {
    const fixture = start();
    const staged = Array.from({ length: 30 }, () => stagedMessage({ key: 'k' }));
    let failures = 3;
    fixture.database.before = (statement) => {
      if (statement === 'completeAndPromote' && failures-- > 0) throw new Error('connection reset');
    };
    (await fixture.prepare(staged))();
    await fixture.clock.advance(5_000);
    expect(fixture.transport.sentIds).toEqual(staged.map(({ id }) => id));
    expect(fixture.database.rows.map(({ completions }) => completions)).toEqual(staged.map(() => 1));
    expect(fixture.aheadInHand()).toBe(0);
  });
});
