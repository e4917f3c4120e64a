import { CONFIRMED, FakeTransport, refused } from '../support/fake-transport';
import { settled } from '../support/manual-clock';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';

const PATHS = ['fast path', 'resend'] as const;

describe('leases while handlers run in this process', () => {
  let fixture: RelayFixture;
  let handlers: FakeTransport;

  function start(given: GivenRelay = {}): void {
    handlers = new FakeTransport({ confirms: 'handlers', sendTimeoutMs: 0, concurrencyMax: 10 });
    handlers.answer = () => 'never';
    fixture = new RelayFixture({ transports: { main: handlers }, ...given });
  }

  async function bring(path: (typeof PATHS)[number]): Promise<string> {
    if (path === 'fast path') return (await fixture.publish({}))[0]!;
    const [id] = await fixture.insertDue({});
    fixture.relay.wake();
    await fixture.clock.advance(20);
    return id!;
  }

  afterEach(async () => {
    handlers.answer = () => CONFIRMED;
    handlers.settleAll();
    await fixture.stop();
  });

  it.each(PATHS)('are renewed as long as they run: %s', async (path) => {
    start();
    const other = new RelayFixture({ database: fixture.database, transports: { main: handlers } });
    const id = await bring(path);
    await fixture.clock.advance(600_000);
    expect(handlers.sentIds).toEqual([id]);

    handlers.settle(id);
    await fixture.clock.advance(100);
    expect(fixture.statusOf(id)).toBe('sent');
    await other.stop();
  });

  it('are renewed with one statement for many, and not more often than needed', async () => {
    start();
    await fixture.publish(...Array.from({ length: 8 }, () => ({})));
    await fixture.clock.advance(60_000);
    expect(fixture.count('extend')).toBeGreaterThanOrEqual(3);
    expect(fixture.count('extend')).toBeLessThanOrEqual(6);
  });

  it('survive a database that is away for less than a third of a lease', async () => {
    start();
    const id = await bring('fast path');
    await fixture.clock.advance(9_000);
    fixture.database.before = (statement) => {
      if (statement === 'extend') throw new Error('connection refused');
    };
    await fixture.clock.advance(10_000);
    fixture.database.before = () => undefined;
    await fixture.clock.advance(60_000);
    expect(handlers.sentIds).toEqual([id]);
    expect(fixture.database.row(id)).toMatchObject({ status: 'pending', claims: 1 });
  });

  it('lost, and claimed again by this very process: no second run, and the first one’s end counts', async () => {
    start();
    const id = await bring('fast path');
    fixture.database.before = (statement) => {
      if (statement === 'extend') throw new Error('connection refused');
    };
    await fixture.clock.advance(40_000);
    const row = fixture.database.row(id);
    expect(row.claims).toBeGreaterThan(1);
    expect(handlers.sent).toHaveLength(1);

    // Under the new claim, a failure is written down as well.
    handlers.settle(id, refused());
    await fixture.clock.advance(100);
    expect(row).toMatchObject({ attempts: 1, token: null });
    fixture.database.before = () => undefined;
  });

  it('lost to another relay: the end of the run counts, its failure does not', async () => {
    start();
    const [done, failed] = [await bring('fast path'), await bring('fast path')];
    for (const id of [done, failed]) fixture.database.row(id).token = 'another relay';
    await fixture.clock.advance(20_000);
    handlers.settle(done);
    handlers.settle(failed, refused());
    await fixture.clock.advance(100);
    expect(fixture.statusOf(done)).toBe('sent');
    expect(fixture.database.row(failed)).toMatchObject({ attempts: 0, token: 'another relay' });
  });

  it('lost: are not asked for again', async () => {
    start();
    const [id] = await fixture.publish({});
    // Which renews it.
    const row = fixture.database.row(id!);
    Object.assign(row, { token: 'another relay', nextAttemptMs: row.nextAttemptMs + 600_000 });
    await fixture.clock.advance(12_000);
    const before = fixture.count('extend');
    expect(before).toBe(1);
    await fixture.clock.advance(60_000);
    expect(fixture.count('extend')).toBe(before);
  });

  it('lost: the running handlers keep their place', async () => {
    start();
    const ids = await fixture.publish(...Array.from({ length: 10 }, () => ({})));
    for (const id of ids) fixture.database.row(id).token = 'another relay';
    await fixture.clock.advance(20_000);
    await fixture.publish({});
    await fixture.clock.advance(5_000);
    expect(handlers.pendingMax).toBe(10);
  });

  it('too short for a first renewal: the message is left to the resend job', async () => {
    handlers = new FakeTransport({ confirms: 'handlers', sendTimeoutMs: 0, concurrencyMax: 1 });
    handlers.answer = () => 'never';
    fixture = new RelayFixture({ transports: { main: handlers } });
    const [, waiting] = await fixture.publish({}, {});
    await fixture.clock.advance(21_000);
    expect(fixture.database.row(waiting!)).toMatchObject({ token: null, claims: 0 });
  });

  it('need no timer while nothing is in hand', async () => {
    start();
    await fixture.clock.advance(30_000);
    const idle = fixture.clock.armed;
    const [id] = await fixture.publish({});
    expect(fixture.clock.armed).toBeGreaterThan(idle);
    handlers.settle(id!);
    await fixture.clock.advance(6_000);
    await settled();
    expect(fixture.clock.armed).toBe(idle);
  });
});
