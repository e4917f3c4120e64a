import { deferred, type Deferred } from '../../support/signal';
import { refused } from '../support/fake-transport';
import { settled } from '../support/manual-clock';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';

/** An alarm that notes when it is asked, and ends when a test lets it. */
class FakeAlarm {
  rounds = 0;
  stops = 0;
  isStopping: () => boolean = () => false;
  round: () => Promise<void> = () => Promise.resolve();
  stopped: () => Promise<void> = () => Promise.resolve();

  ringDue(stopping: () => boolean): Promise<void> {
    this.rounds += 1;
    this.isStopping = stopping;
    return this.round();
  }

  stop(): Promise<void> {
    this.stops += 1;
    return this.stopped();
  }
}

describe('alarms that nobody has heard', () => {
  let alarm: FakeAlarm;
  let fixture: RelayFixture;
  let gate: Deferred<void>;

  function start(settings: GivenRelay['settings'] = {}, leaseMs = 15_000): void {
    fixture = new RelayFixture({
      settings: { ...settings, relay: { leaseMs, sweepIntervalMs: 5_000, shutdownTimeoutMs: 10_000 } },
      dependencies: { alarm },
    });
  }

  beforeEach(() => {
    alarm = new FakeAlarm();
    gate = deferred<void>();
  });

  it.each(['full', 'relay'] as const)('are rung at once and at each sweep, in the role %s', async (role) => {
    start({ role });
    await fixture.clock.advance(0);
    expect(alarm.rounds).toBe(1);
    await fixture.clock.advance(10_000);
    expect(alarm.rounds).toBe(3);
    await fixture.stop();
    await fixture.clock.advance(60_000);
    expect([alarm.rounds, alarm.stops]).toEqual([3, 1]);
  });

  it('are rung less often where the lease is long, as none is due sooner', async () => {
    start({}, 60_000);
    await fixture.clock.advance(40_000);
    expect([alarm.rounds, fixture.count('sweep')]).toEqual([3, 9]);
    await fixture.stop();
  });

  it.each(['publisher', 'consumer'] as const)(
    'are left to others, in the role %s, whose own still end',
    async (role) => {
      start({ role });
      await fixture.clock.advance(60_000);
      await fixture.stop();
      expect([alarm.rounds, alarm.stops]).toEqual([0, 1]);
    },
  );

  it('ring in one round at a time, and no callback holds up the sweeper', async () => {
    alarm.round = () => gate.promise;
    start();
    await fixture.clock.advance(20_000);
    expect([alarm.rounds, fixture.count('sweep')]).toEqual([1, 5]);
    gate.resolve();
    await fixture.clock.advance(5_000);
    expect(alarm.rounds).toBe(2);
    await fixture.stop();
  });

  it('are looked for again, when the database was away', async () => {
    alarm.round = () => (alarm.rounds === 1 ? Promise.reject(new Error('away')) : Promise.resolve());
    start();
    await fixture.clock.advance(5_000);
    expect(alarm.rounds).toBe(2);
    expect(fixture.eventsOf('relay.error')).toEqual([
      { task: 'Ringing alarms that nobody has heard', error: 'away' },
    ]);
    await fixture.stop();
  });

  describe('at shutdown', () => {
    it('are waited for, after the last writes and before the store is closed', async () => {
      start();
      fixture.transport.answer = () => 'never';
      const [id] = await fixture.publish({});
      alarm.stopped = () => gate.promise;
      const stopped = fixture.relay.stop();
      // Its outcome comes with the shutdown.
      fixture.transport.settleAll(refused(false));
      await fixture.clock.advance(1_000);
      await stopped;
      const closed = fixture.relay.close();
      await fixture.clock.advance(1_000);
      expect(fixture.statusOf(id ?? '')).toBe('dead_letter');
      expect([alarm.stops, fixture.store.closed]).toEqual([1, false]);
      gate.resolve();
      await closed;
      expect(fixture.store.closed).toBe(true);
    });

    it('begin no further round, and keep nobody beyond the limit of the shutdown', async () => {
      alarm.round = () => gate.promise;
      start();
      await settled();
      const stopping = fixture.relay.stop();
      await settled();
      expect(alarm.isStopping()).toBe(true);
      await stopping;
      await fixture.clock.advance(4_000);
      const closing = fixture.relay.close();
      await fixture.clock.advance(5_999);
      expect(fixture.store.closed).toBe(false);
      await fixture.clock.advance(1);
      await closing;
      expect(fixture.store.closed).toBe(true);
      gate.resolve();
    });
  });
});
