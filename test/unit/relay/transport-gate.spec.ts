import { CONFIRMED, FakeTransport, UNREACHABLE } from '../support/fake-transport';
import { settled } from '../support/manual-clock';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';

describe('a transport that does not answer', () => {
  let fixture: RelayFixture;

  function start(given: GivenRelay = {}): RelayFixture {
    fixture = new RelayFixture(given);
    return fixture;
  }

  /** The broker goes, and a message finds out. */
  async function breakBroker(): Promise<string> {
    fixture.transport.reachable = false;
    fixture.transport.answer = () => (fixture.transport.reachable ? CONFIRMED : UNREACHABLE);
    return (await fixture.publish({}))[0]!;
  }

  async function probeTimes(forMs: number): Promise<number[]> {
    const startedMs = fixture.clock.monotonicMs();
    const times: number[] = [];
    for (let passed = 0; passed < forMs; passed += 100) {
      const before = fixture.transport.probes;
      await fixture.clock.advance(100);
      if (fixture.transport.probes > before) times.push(fixture.clock.monotonicMs() - startedMs);
    }
    return times;
  }

  afterEach(() => fixture.stop());

  it('burns no attempt of any message in an outage, however long', async () => {
    start({ settings: { retry: { attemptsMax: 3, claimsMax: 2 } } });
    const ids = [await breakBroker(), ...(await fixture.publish({}, {}, {}))];
    await fixture.clock.advance(600_000);
    expect(ids.map((id) => fixture.database.row(id))).toEqual(
      ids.map(() => expect.objectContaining({ status: 'pending', attempts: 0, claims: 0 }) as unknown),
    );
    expect(fixture.transport.sent).toHaveLength(1);

    fixture.transport.reachable = true;
    await fixture.clock.advance(31_000);
    expect(ids.map((id) => fixture.statusOf(id))).toEqual(ids.map(() => 'sent'));
  });

  it('claims nothing for it meanwhile', async () => {
    start();
    await breakBroker();
    await settled();
    const before = fixture.count('claim');
    await fixture.clock.advance(60_000);
    expect(fixture.count('claim')).toBe(before);
  });

  it('is probed at growing intervals, up to thirty times the first', async () => {
    start();
    await breakBroker();
    const times = await probeTimes(130_000);
    const waits = times.map((time, index) => Math.round((time - (times[index - 1] ?? 0)) / 1_000));
    expect(waits).toEqual([1, 2, 4, 8, 16, 30, 30, 30]);
  });

  it('is not probed twice at once', async () => {
    start();
    await breakBroker();
    let answer: (up: boolean) => void = () => undefined;
    fixture.transport.probe = () => {
      fixture.transport.probes += 1;
      return new Promise((resolve) => (answer = resolve));
    };
    await fixture.clock.advance(1_100);
    fixture.transport.hint('up');
    fixture.transport.hint('up');
    await fixture.clock.advance(60_000);
    expect(fixture.transport.probes).toBe(1);

    // The hint came while the probe was on its way: its "no" may be older than the hint.
    answer(false);
    await settled();
    expect(fixture.transport.probes).toBe(2);
    answer(true);
    await fixture.clock.advance(100);
    expect(fixture.namesOf('transport.up')).toHaveLength(1);
  });

  it('is probed at once when it says that it is up, and not believed without', async () => {
    start();
    await breakBroker();
    await fixture.clock.advance(8_000);
    const before = fixture.transport.probes;
    fixture.transport.hint('up');
    await settled();
    expect(fixture.transport.probes).toBe(before + 1);
    expect((await fixture.relay.stats()).paused).toEqual({ main: 'unreachable' });

    fixture.transport.reachable = true;
    fixture.transport.hint('up');
    await fixture.clock.advance(50);
    expect(fixture.transport.sent).toHaveLength(2);
  });

  it('is closed by its own hint, before any message finds out', async () => {
    start();
    fixture.transport.hint('down', 'connection blocked');
    expect(fixture.eventsOf('transport.down')).toEqual([{ transport: 'main', reason: 'connection blocked' }]);
    await fixture.publish({});
    expect(fixture.transport.sent).toEqual([]);
  });

  it('keeps its waits when it comes back and swallows the first message again', async () => {
    start();
    fixture.transport.answer = () => UNREACHABLE;
    await fixture.publish({});
    const times = await probeTimes(64_000);
    expect(times.length).toBeLessThanOrEqual(6);
    fixture.transport.answer = () => CONFIRMED;
  });

  it('starts over with short waits after a message was answered', async () => {
    start();
    await breakBroker();
    await fixture.clock.advance(100_000);
    fixture.transport.reachable = true;
    await fixture.clock.advance(31_000);
    await breakBroker();
    expect((await probeTimes(3_500)).length).toBe(2);
  });

  it('gives what waits in memory back, for relays that can reach it', async () => {
    start({ transports: { main: new FakeTransport({ concurrencyMax: 1 }) } });
    fixture.transport.answer = () => 'never';
    const [, waiting] = await fixture.publish({}, {});
    fixture.transport.hint('down');
    await fixture.clock.advance(10);
    expect(fixture.database.row(waiting!).token).toBeNull();
    fixture.transport.settleAll();
  });

  it('never closes for handlers in this process', async () => {
    start({ transports: { main: new FakeTransport({ confirms: 'handlers', sendTimeoutMs: 0 }) } });
    fixture.transport.hint('down');
    fixture.transport.answer = () => (fixture.transport.sent.length === 1 ? UNREACHABLE : CONFIRMED);
    const [id] = await fixture.publish({});
    await fixture.clock.advance(20);
    expect((await fixture.relay.stats()).paused).toEqual({});
    expect(fixture.transport.sent).toHaveLength(1);
    await fixture.clock.advance(2_100);
    expect(fixture.statusOf(id!)).toBe('sent');
  });
});

describe('pause and resume', () => {
  let fixture: RelayFixture;
  const quick = (): Record<string, FakeTransport> => ({ one: new FakeTransport(), two: new FakeTransport() });

  afterEach(() => fixture.stop());

  it('stop one transport, and leave the other alone', async () => {
    const transports = quick();
    fixture = new RelayFixture({ transports });
    fixture.relay.pause('one');
    fixture.relay.pause('one');
    await fixture.publish({ transport: 'one' }, { transport: 'two' });
    await fixture.clock.advance(10_000);
    expect(transports.one!.sent).toHaveLength(0);
    expect(transports.two!.sent).toHaveLength(1);
    expect((await fixture.relay.stats()).paused).toEqual({ one: 'paused' });

    fixture.relay.resume('one');
    await fixture.clock.advance(100);
    expect(transports.one!.sent).toHaveLength(1);
    expect(fixture.eventsOf('relay.paused')).toEqual([{ transport: 'one' }, { transport: 'one' }]);
    expect(fixture.eventsOf('relay.resumed')).toEqual([{ transport: 'one' }]);
  });

  it('stop all; what is in flight ends', async () => {
    fixture = new RelayFixture({ transports: quick() });
    fixture.transport.answer = () => 'never';
    const [flying] = await fixture.publish({ transport: 'one' });
    fixture.relay.pause();
    const [waiting] = await fixture.publish({ transport: 'two' });
    fixture.transport.settleAll();
    await fixture.clock.advance(5_000);
    expect(fixture.statusOf(flying!)).toBe('sent');
    expect(fixture.statusOf(waiting!)).toBe('pending');
    fixture.relay.resume();
    await fixture.clock.advance(100);
    expect(fixture.statusOf(waiting!)).toBe('sent');
  });

  it('a person’s pause outlasts the broker’s return', async () => {
    fixture = new RelayFixture();
    fixture.transport.hint('down');
    fixture.relay.pause();
    await fixture.publish({});
    await fixture.clock.advance(10_000);
    expect((await fixture.relay.stats()).paused).toEqual({ main: 'paused' });
    expect(fixture.transport.sent).toEqual([]);
  });

  it.each(['one', undefined])('before the start, hold from the start on: %s', async (transport) => {
    const transports = quick();
    fixture = new RelayFixture({ transports, started: false });
    fixture.relay.pause(transport);
    fixture.relay.pause('two');
    fixture.relay.resume('two');
    fixture.start();
    await fixture.publish({ transport: 'one' });
    await fixture.clock.advance(10_000);
    expect(transports.one!.sent).toEqual([]);
    fixture.relay.resume();
    await fixture.clock.advance(100);
    expect(transports.one!.sent).toHaveLength(1);
  });

  it('name what is known, when they are given a transport that is not', () => {
    fixture = new RelayFixture({ transports: quick() });
    expect(() => fixture.relay.pause('three')).toThrow("no transport named 'three'. Known here: one, two.");
  });
});
