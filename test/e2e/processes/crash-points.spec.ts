import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { AppChild } from './app-child';
import { CRASH_POINTS, type CrashPoint, type ProcessTask } from './process-task';
import { Ledger } from './ledger';

/** Crash point → is the order committed? Whatever the answer, its message takes effect as often: once, or never. */
const COMMITTED: Record<CrashPoint, boolean> = {
  'after the row, before COMMIT': false,
  'after COMMIT, before the hand-over': true,
  'after the hand-over, before the send': true,
  'after the send, before the confirmation is seen': true,
  'after the confirmation, before it is written down': true,
  'after it is written down': true,
  'in shutdown': true,
};

describe.each(['postgres', 'mysql'] as const)('a process that is killed, on %s', (type) => {
  let database: TestDatabase;
  let ledger: Ledger;
  let survivor: AppChild;
  let task: Omit<ProcessTask, 'killAt' | 'consumes'>;

  beforeAll(async () => {
    database = await createTestDatabase(type);
    task = {
      database: { type, url: database.url },
      rabbitMqUrl: (await createVhost()).url,
      role: 'full',
      leaseMs: 1_500,
    };
    survivor = await AppChild.start({ ...task, consumes: true, killAt: null });
    ledger = await Ledger.open(database);
  }, 60_000);

  afterAll(async () => {
    await survivor.close();
    await ledger.close();
    await database.drop();
  });

  it.each(CRASH_POINTS)('%s: nothing is lost, invented or doubled', async (killAt) => {
    const customerId = `killed ${killAt}`;
    await ledger.addCart(customerId);
    const doomed = await AppChild.start({ ...task, consumes: false, killAt });
    // Or it may be the one that sends what the other is to die of.
    await survivor.run({ do: 'pause' });
    await doomed.run({ do: 'place', ids: [`${killAt}-1`], customerId }).catch(() => undefined);
    if (killAt === 'in shutdown') void doomed.run({ do: 'close' }).catch(() => undefined);
    expect(await doomed.ended).toBe('SIGKILL');
    await survivor.run({ do: 'resume' });

    const orders = COMMITTED[killAt] ? 1 : 0;
    await waitFor(async () => (await ledger.count(customerId)).effects === orders, {
      what: `${orders} effects`,
    });
    // What follows it in its key comes after it: when that has taken effect, no copy of the first is on its way ahead of it.
    await survivor.run({ do: 'place', ids: [`${killAt}-2`], customerId });
    await waitFor(async () => (await ledger.count(customerId)).effects === orders + 1, {
      what: 'the next effect',
    });
    await survivor.run({ do: 'flush' });
    expect(await ledger.count(customerId)).toEqual({ orders: orders + 1, effects: orders + 1 });
    const { sent, ...others } = await ledger.statuses();
    expect(sent).toBeGreaterThan(0);
    expect(others).toEqual({});
  });
});
