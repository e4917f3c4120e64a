import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { AppChild } from './app-child';
import { Ledger } from './ledger';
import { BEFORE_ALARM, type ProcessTask } from './process-task';

const LEASE_MS = 1_500;

describe.each(['postgres', 'mysql'] as const)('the alarm of a dead letter, on %s', (type) => {
  let database: TestDatabase;
  let ledger: Ledger;
  let task: Omit<ProcessTask, 'killAt'>;
  const open: AppChild[] = [];

  beforeEach(async () => {
    database = await createTestDatabase(type);
    task = {
      database: { type, url: database.url },
      rabbitMqUrl: (await createVhost()).url,
      role: 'full',
      consumes: false,
      refusesUnroutable: true,
      leaseMs: LEASE_MS,
    };
  }, 30_000);

  afterEach(async () => {
    await Promise.all(open.splice(0).map((app) => app.close()));
    await ledger.close();
    await database.drop();
  }, 30_000);

  const start = async (killAt: ProcessTask['killAt'], more: Partial<ProcessTask> = {}): Promise<AppChild> => {
    const app = await AppChild.start({ ...task, ...more, killAt });
    open.push(app);
    return app;
  };
  const alarmsOf = async (app: AppChild): Promise<number> =>
    (await app.run({ do: 'stats' })).alarms ?? Number.NaN;
  async function dieBeforeAlarm(): Promise<void> {
    const doomed = await start(BEFORE_ALARM);
    await doomed.run({ do: 'place', ids: ['o-1'], customerId: 'anna' }).catch(() => undefined);
    expect(await doomed.ended).toBe('SIGKILL');
    ledger = await Ledger.open(database);
    expect(await ledger.statuses()).toEqual({ dead_letter: 1 });
  }

  it('is rung by another relay, once, when the process that wrote it down is killed before it rings', async () => {
    const survivor = await start(null);
    // Or it may be the one that sends the message, and makes the dead letter.
    await survivor.run({ do: 'pause' });
    await dieBeforeAlarm();
    await survivor.run({ do: 'resume' });
    await waitFor(async () => (await alarmsOf(survivor)) > 0, { what: 'the alarm' });
    await waitFor(async () => (await ledger.alarmsDue()) === 0, { what: 'the alarm to be marked as heard' });
    expect(await alarmsOf(survivor)).toBe(1);
  }, 60_000);

  it('is rung at the next start, when there was no other; a process that only publishes leaves it alone', async () => {
    await dieBeforeAlarm();
    const publisher = await start(null, { role: 'publisher' });
    await publisher.close();
    expect([await ledger.alarmsDue(), await ledger.statuses()]).toEqual([1, { dead_letter: 1 }]);
    const next = await start(null, { role: 'relay' });
    await waitFor(async () => (await alarmsOf(next)) > 0, { what: 'the alarm' });
    expect(await alarmsOf(next)).toBe(1);
    await next.close();
    expect(await ledger.alarmsDue()).toBe(0);
  }, 60_000);
});
