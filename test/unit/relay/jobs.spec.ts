import { SchedulerRegistry } from '@nestjs/schedule';
import type { InboxStore } from '../../../lib/core/inbox-store.port';
import { RegistrySchedule } from '../../../lib/relay/resend-schedule';
import { settled } from '../support/manual-clock';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** The other jobs at rest, so that a day of the clock passes quickly. */
const SELDOM = { intervalMs: HOUR_MS, idleIntervalMaxMs: HOUR_MS, sweepIntervalMs: HOUR_MS };

describe('the jobs in the background', () => {
  let fixture: RelayFixture;

  function start(given: GivenRelay = {}): RelayFixture {
    fixture = new RelayFixture(given);
    return fixture;
  }

  afterEach(() => fixture.stop());

  describe('the sweeper', () => {
    it('puts a row that kills who sends it into quarantine, tells so, and sends the others', async () => {
      start({ started: false, settings: { retry: { claimsMax: 3 } } });
      const [killer, other] = await fixture.insertDue({}, {});
      fixture.database.row(killer!).claims = 3;
      fixture.start();
      await fixture.clock.advance(100);
      expect(fixture.statusOf(killer!)).toBe('dead_letter');
      expect(fixture.statusOf(other!)).toBe('sent');
      expect(fixture.eventsOf('message.deadLetter')).toMatchObject([
        { id: killer, attempts: 0, error: 'taken 3 times without any outcome' },
      ]);
    });

    it('cancels what is past its time, tells so, and raises no alarm', async () => {
      start();
      fixture.relay.pause();
      const [id] = await fixture.publish({ expiresInMs: 2_000 });
      await fixture.clock.advance(8_000);
      expect(fixture.statusOf(id!)).toBe('cancelled');
      expect(fixture.eventsOf('message.expired')).toMatchObject([{ id }]);
      expect(fixture.eventsOf('message.deadLetter')).toEqual([]);
    });

    it('lets the key of what expired go on, over others that expired behind it', async () => {
      start();
      fixture.relay.pause();
      const expiring = { key: 'k', expiresInMs: 2_000 };
      const [, , next] = await fixture.publish(expiring, expiring, { key: 'k' });
      await fixture.clock.advance(8_000);
      expect(fixture.eventsOf('message.expired')).toHaveLength(2);
      fixture.relay.resume();
      await settled();
      expect(fixture.transport.sentIds).toEqual([next]);
    });

    it('lets the key of a quarantined message go on under skip', async () => {
      start({ started: false, settings: { onDeadLetter: 'skip' } });
      const [killer, next] = await fixture.insertDue({ key: 'k' }, { key: 'k' });
      fixture.database.row(killer!).claims = 5;
      fixture.start();
      await fixture.clock.advance(100);
      expect(fixture.statusOf(next!)).toBe('sent');
    });

    it('goes on after a failure', async () => {
      start();
      await settled();
      fixture.database.before = (statement) => {
        if (statement === 'sweep') throw new Error('deadlock');
      };
      await fixture.clock.advance(5_100);
      expect(fixture.eventsOf('relay.error')).toEqual([{ task: 'Sweeping', error: 'deadlock' }]);
      fixture.database.before = () => undefined;
      const before = fixture.count('sweep');
      await fixture.clock.advance(5_100);
      expect(fixture.count('sweep')).toBe(before + 1);
    });
  });

  describe('the cleaner', () => {
    it('deletes what was kept long enough, in batches, and nothing else', async () => {
      start({
        settings: { relay: SELDOM, retention: { batchSizeMax: 10, sentMs: DAY_MS, intervalMs: HOUR_MS } },
      });
      const old = await fixture.publish(...Array.from({ length: 25 }, () => ({})));
      fixture.relay.pause();
      const [unsent] = await fixture.publish({});
      await fixture.clock.advance(DAY_MS - HOUR_MS);
      fixture.relay.resume();
      const [fresh] = await fixture.publish({});
      const before = fixture.count('purge');
      await fixture.clock.advance(2 * HOUR_MS);
      const left = fixture.database.rows.map(({ message }) => message.id);
      expect(left).toEqual([unsent, fresh]);
      expect(old.some((id) => left.includes(id))).toBe(false);
      // Two runs of sent, consumed and cancelled; and for sent two full batches more.
      expect(fixture.count('purge') - before).toBe(2 * 3 + 2);
    });

    it.each([
      [null, 1],
      [DAY_MS, 0],
    ])('keeps dead letters for %s ms', async (deadLetterMs, kept) => {
      start({
        settings: {
          relay: SELDOM,
          retention: { deadLetterMs, intervalMs: HOUR_MS },
          retry: { attemptsMax: 1 },
        },
      });
      fixture.transport.answer = () => ({ kind: 'refused', error: 'no', retry: true });
      await fixture.publish({});
      await fixture.clock.advance(DAY_MS + 2 * HOUR_MS);
      expect(fixture.database.rows).toHaveLength(kept);
    });

    it('deletes old keys of the inbox along', async () => {
      const calls: number[][] = [];
      const inbox: Pick<InboxStore, 'purge'> = {
        purge: (olderThanMs, limit) => {
          calls.push([olderThanMs, limit]);
          return Promise.resolve(calls.length === 1 ? limit : 0);
        },
      };
      start({ dependencies: { inbox } });
      await fixture.clock.advance(60_100);
      expect(calls).toEqual([
        [14 * DAY_MS, 1_000],
        [14 * DAY_MS, 1_000],
      ]);
    });
  });

  describe('waking other processes', () => {
    it('once in notifyDelayMs, whatever is committed, and not inside the commit', async () => {
      start({ settings: { role: 'publisher' } });
      await Promise.all(Array.from({ length: 50 }, () => fixture.publish({})));
      expect(fixture.count('notify')).toBe(0);
      await fixture.clock.advance(1);
      expect(fixture.count('notify')).toBe(1);
      for (let ms = 0; ms < 100; ms += 2) {
        await fixture.publish({});
        await fixture.clock.advance(2);
      }
      expect(fixture.count('notify')).toBeLessThanOrEqual(1 + 100 / 20 + 1);
    });

    it('makes a relay elsewhere send at once', async () => {
      start({ settings: { role: 'publisher' } });
      const relay = new RelayFixture({ database: fixture.database, settings: { role: 'relay' } });
      await fixture.clock.advance(30_000);
      const [id] = await fixture.publish({});
      await fixture.clock.advance(30);
      expect(relay.transport.sentIds).toEqual([id]);
      await relay.stop();
    });

    it('is left out where the server cannot, or the relay is told not to listen', async () => {
      start({ settings: { role: 'publisher' } });
      fixture.store.canNotify = false;
      const deaf = new RelayFixture({ database: fixture.database, settings: { relay: { listen: false } } });
      await fixture.publish({});
      await fixture.clock.advance(1_000);
      expect(fixture.count('notify') + fixture.count('listen')).toBe(0);
      await deaf.stop();
    });

    it('is lost without harm: polling finds the message', async () => {
      start({ settings: { role: 'publisher' } });
      fixture.database.before = (statement) => {
        if (statement === 'notify') throw new Error('connection refused');
      };
      const relay = new RelayFixture({ database: fixture.database });
      const [id] = await fixture.publish({});
      await fixture.clock.advance(6_000);
      expect(relay.transport.sentIds).toEqual([id]);
      await relay.stop();
    });

    it('is listened for again when the database was away at the start', async () => {
      start({ started: false });
      fixture.database.before = (statement) => {
        if (statement === 'listen') throw new Error('connection refused');
      };
      fixture.start();
      await fixture.clock.advance(5_000);
      fixture.database.before = () => undefined;
      await fixture.clock.advance(5_000);
      await fixture.insertDue({});
      fixture.database.notifyAll();
      await fixture.clock.advance(50);
      expect(fixture.transport.sent).toHaveLength(1);
    });
  });
});

describe('a relay that is refused', () => {
  it.each<[string, GivenRelay]>([
    [
      'by its schedule',
      {
        dependencies: {
          schedule: {
            mayIdle: true,
            start: () => {
              throw new Error('refused');
            },
            stop: () => undefined,
          },
        },
      },
    ],
    ['by a lease that is too short', { settings: { relay: { leaseMs: 1 } } }],
  ])('%s, has not begun anything', async (_, given) => {
    const fixture = new RelayFixture({ ...given, started: false });
    await fixture.insertDue({});
    const before = [...fixture.database.statements];
    expect(() => fixture.start()).toThrow();
    await fixture.clock.advance(120_000);
    expect(fixture.database.statements).toEqual(before);
    await fixture.relay.stop();
    await fixture.relay.close();
  });
});

describe('the schedule', () => {
  it('stands in the registry as an interval, and leaves it when it stops', () => {
    const registry = new SchedulerRegistry();
    const schedule = new RegistrySchedule(registry, { name: 'outbox', intervalMs: 60_000, cron: undefined });
    schedule.start(() => undefined);
    expect(registry.getIntervals()).toEqual(['outbox']);
    expect(schedule.mayIdle).toBe(true);
    schedule.stop();
    schedule.stop();
    expect(registry.getIntervals()).toEqual([]);
  });

  it('beats by cron, where it is given one', async () => {
    const registry = new SchedulerRegistry();
    const schedule = new RegistrySchedule(registry, {
      name: 'outbox',
      intervalMs: 60_000,
      cron: '* * * * * *',
    });
    const beaten = new Promise<void>((resolve) => schedule.start(resolve));
    expect([...registry.getCronJobs().keys()]).toEqual(['outbox']);
    expect(schedule.mayIdle).toBe(false);
    await beaten;
    schedule.stop();
    expect(registry.getCronJobs().size).toBe(0);
  });

  it('refuses what is no cron expression, at the start', () => {
    const schedule = new RegistrySchedule(new SchedulerRegistry(), {
      name: 'o',
      intervalMs: 1,
      cron: 'every now and then',
    });
    expect(() => schedule.start(() => undefined)).toThrow(
      /relay\.cron.*'every now and then' is no cron expression/,
    );
  });
});
