import { CONFIRMED, FakeTransport } from '../support/fake-transport';
import { deferred } from '../../support/signal';
import { settled } from '../support/manual-clock';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';

describe('the resend job', () => {
  let fixture: RelayFixture;

  function start(given: GivenRelay = {}): RelayFixture {
    fixture = new RelayFixture(given);
    return fixture;
  }

  async function insertMany(count: number, transport = 'main'): Promise<string[]> {
    return fixture.insertDue(...Array.from({ length: count }, () => ({ transport })));
  }

  afterEach(() => fixture.stop());

  it('sends at its start what was left over', async () => {
    start({ started: false });
    const [id] = await fixture.insertDue({});
    fixture.start();
    await fixture.clock.advance(10);
    expect(fixture.statusOf(id!)).toBe('sent');
  });

  it('finds by its schedule what nobody told it of', async () => {
    start();
    await settled();
    const [id] = await fixture.insertDue({});
    await fixture.clock.advance(999);
    expect(fixture.statusOf(id!)).toBe('pending');
    await fixture.clock.advance(10);
    expect(fixture.statusOf(id!)).toBe('sent');
  });

  it('drains until a claim comes back short', async () => {
    start({ settings: { relay: { claimSizeMax: 10 } }, started: false });
    await insertMany(25);
    fixture.start();
    await settled();
    expect(fixture.count('claim')).toBe(3);
    expect(fixture.transport.sent).toHaveLength(25);
  });

  it('claims the next batch while the one before is being confirmed, within inFlightMax', async () => {
    start({ settings: { relay: { claimSizeMax: 10, inFlightMax: 20 } }, started: false });
    fixture.transport.answer = () => 'never';
    await insertMany(50);
    fixture.start();
    await settled();
    expect(fixture.transport.pending.size).toBe(20);
    expect(fixture.count('claim')).toBe(2);

    for (let rest = 50; rest > 0; rest -= 5) {
      fixture.transport.pending.forEach((_, id) => rest > 0 && fixture.transport.settle(id));
      await fixture.clock.advance(10);
    }
    expect(fixture.transport.sent).toHaveLength(50);
    expect(fixture.transport.pendingMax).toBeLessThanOrEqual(20);
  });

  it('counts what is confirmed and not written down yet as in flight: a slow database bounds the memory', async () => {
    start({ settings: { relay: { claimSizeMax: 10, inFlightMax: 20 } }, started: false });
    const gate = deferred<void>();
    fixture.database.before = (statement) => (statement === 'complete' ? gate.promise : undefined);
    await insertMany(50);
    fixture.start();
    await fixture.clock.advance(500);
    expect(fixture.transport.sent).toHaveLength(20);
    gate.resolve();
    await fixture.clock.advance(500);
    expect(fixture.transport.sent).toHaveLength(50);
  });

  it('leaves the fast path its places when a claim finds nothing', async () => {
    start({ transports: { main: new FakeTransport({ concurrencyMax: 1 }) } });
    await settled();
    const gate = deferred<void>();
    fixture.database.before = (statement) => (statement === 'claim' ? gate.promise : undefined);
    fixture.relay.wake();
    await fixture.clock.advance(30);
    await fixture.publish({});
    expect(fixture.transport.sent).toEqual([]);
    gate.resolve();
    await settled();
    expect(fixture.transport.sent).toHaveLength(1);
  });

  it('keeps to each transport’s concurrencyMax, and lets a narrow one hold up no wide one', async () => {
    const narrow = new FakeTransport({ concurrencyMax: 2 });
    narrow.answer = () => 'never';
    const wide = new FakeTransport();
    start({ transports: { narrow, wide }, started: false });
    await insertMany(10, 'narrow');
    await insertMany(700, 'wide');
    fixture.start();
    await fixture.clock.advance(100);
    expect(narrow.pending.size).toBe(2);
    expect(wide.sent).toHaveLength(700);

    for (let round = 0; round < 10; round += 1) {
      narrow.settleAll();
      await fixture.clock.advance(20);
    }
    expect(narrow.sent).toHaveLength(10);
    expect(narrow.pendingMax).toBe(2);
  });

  it('lets a wide transport with endless work hold up no narrow one', async () => {
    const narrow = new FakeTransport({ concurrencyMax: 2 });
    const wide = new FakeTransport();
    wide.answer = () => 'never';
    start({
      transports: { narrow, wide },
      settings: { relay: { claimSizeMax: 10, inFlightMax: 20 } },
      started: false,
    });
    await insertMany(2, 'narrow');
    await insertMany(50, 'wide');
    fixture.start();
    await fixture.clock.advance(100);
    expect(narrow.sent).toHaveLength(2);
    wide.answer = () => CONFIRMED;
    wide.settleAll();
  });

  it('never looks twice at once', async () => {
    start({ started: false });
    let running = 0;
    let most = 0;
    fixture.database.before = async (statement) => {
      if (statement !== 'claim') return;
      running += 1;
      most = Math.max(most, running);
      await settled(3);
    };
    fixture.database.after = (statement) => {
      if (statement === 'claim') running -= 1;
    };
    fixture.start();
    for (let call = 0; call < 20; call += 1) {
      fixture.relay.wake();
      await fixture.clock.advance(7);
    }
    expect(most).toBe(1);
    expect(fixture.count('claim')).toBeGreaterThan(2);
  });

  it('looks again, when it is woken in the middle of a look', async () => {
    start();
    await settled();
    const gate = deferred<void>();
    fixture.database.after = (statement) => (statement === 'claim' ? gate.promise : undefined);
    await fixture.clock.advance(1_000);
    const [id] = await fixture.insertDue({});
    fixture.relay.wake();
    gate.resolve();
    await fixture.clock.advance(30);
    expect(fixture.statusOf(id!)).toBe('sent');
  });

  it('shares one look among calls that come close together', async () => {
    start();
    await fixture.clock.advance(100);
    const before = fixture.count('claim');
    for (let call = 0; call < 100; call += 1) {
      fixture.relay.wake();
      await fixture.clock.advance(1);
    }
    expect(fixture.count('claim') - before).toBeLessThanOrEqual(6);
  });

  it('asks the database at most once a second when idle, all jobs together', async () => {
    start();
    await fixture.clock.advance(10_000);
    const before = fixture.database.statements.length;
    await fixture.clock.advance(120_000);
    const queries = fixture.database.statements.length - before;
    expect(queries).toBeLessThanOrEqual(120);
    expect(queries).toBeGreaterThan(40);
  });

  it('looks often again as soon as something was found', async () => {
    start();
    await fixture.clock.advance(30_000);
    await insertMany(1);
    while (fixture.transport.sent.length === 0) await fixture.clock.advance(100);
    await insertMany(1);
    await fixture.clock.advance(1_100);
    expect(fixture.transport.sent).toHaveLength(2);
  });

  it('wakes for what other processes have delayed, however idle it is', async () => {
    start({ settings: { relay: { idleIntervalMaxMs: 600_000, sweepIntervalMs: 3_600_000 } } });
    const [id] = await fixture.insertDue({ delayMs: 400_000 });
    await fixture.clock.advance(399_900);
    expect(fixture.statusOf(id!)).toBe('pending');
    await fixture.clock.advance(1_200);
    expect(fixture.statusOf(id!)).toBe('sent');
  });

  it('outlives a database that is away, and says so once', async () => {
    start();
    await settled();
    fixture.database.before = () => {
      throw new Error('connection refused');
    };
    await fixture.clock.advance(20_000);
    expect(fixture.eventsOf('relay.error').map(({ task }) => task)).toContain('Looking for due messages');
    fixture.database.before = () => undefined;
    await insertMany(1);
    await fixture.clock.advance(6_000);
    expect(fixture.transport.sent).toHaveLength(1);
  });

  it('does not starve while fresh messages fill every place that comes free', async () => {
    start({ settings: { relay: { inFlightMax: 8, claimSizeMax: 8 } } });
    fixture.transport.answer = () => 'never';
    await fixture.publish(...Array.from({ length: 30 }, () => ({})));
    const [old] = await fixture.insertDue({});
    fixture.relay.wake();
    for (let round = 0; round < 10 && !fixture.transport.sentIds.includes(old!); round += 1) {
      // One place at a time: the fast path would always be quicker than a claim that is worth a query.
      fixture.transport.settle([...fixture.transport.pending.keys()][0]!);
      await fixture.clock.advance(10);
    }
    expect(fixture.transport.sentIds).toContain(old);
    fixture.transport.answer = () => CONFIRMED;
    fixture.transport.settleAll();
  });

  it('lets a transport that swallows its messages keep no place for ever', async () => {
    start({ settings: { relay: { inFlightMax: 1 } } });
    fixture.transport.answer = () => 'never';
    await fixture.publish({});
    await fixture.clock.advance(29_000);
    fixture.transport.pending.clear();
    fixture.transport.answer = () => CONFIRMED;
    await fixture.clock.advance(12_000);
    const [id] = await fixture.publish({});
    await fixture.clock.advance(10);
    expect(fixture.statusOf(id!)).toBe('sent');
  });

  it('gives back what it claimed for a transport that was closed meanwhile', async () => {
    start();
    await settled();
    const [id] = await fixture.insertDue({});
    fixture.database.after = (statement) => {
      if (statement === 'claim') fixture.relay.pause();
    };
    await fixture.clock.advance(1_500);
    expect(fixture.transport.sent).toEqual([]);
    expect(fixture.database.row(id!)).toMatchObject({ token: null, claims: 0 });
  });

  it('gives back what it claimed when the claim took too long for a sending', async () => {
    start();
    await settled();
    const [id] = await fixture.insertDue({});
    const gate = deferred<void>();
    fixture.database.after = (statement) => (statement === 'claim' ? gate.promise : undefined);
    await fixture.clock.advance(1_000);
    await fixture.clock.advance(19_500);
    gate.resolve();
    await settled();
    expect(fixture.transport.sent).toEqual([]);
    await fixture.clock.advance(100);
    expect(fixture.transport.sentIds).toEqual([id]);
  });

  it('refuses a lease that a slow send outlives', () => {
    start();
    const transports = { main: new FakeTransport({ sendTimeoutMs: 30_000 }) };
    expect(() => new RelayFixture({ transports })).toThrow(/relay\.leaseMs.*is 30000 ms.*'main'/);
  });
});
