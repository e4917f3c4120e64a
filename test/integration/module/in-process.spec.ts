import { OutboxEvents, OutboxRelay } from 'nestjs-outbox';
import { inProcess } from 'nestjs-outbox/in-process';
import { OutboxTester } from 'nestjs-outbox/testing';

import { createTestDatabase, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { startThinSlice, type ThinSlice } from './thin-slice';

describe.each(['postgres', 'mysql'] as const)('the module in process, with no broker, on %s', (type) => {
  let database: TestDatabase;
  let slice: ThinSlice;
  let tester: OutboxTester;

  beforeAll(async () => {
    database = await createTestDatabase(type);
    slice = await startThinSlice(database, {
      transport: inProcess(),
      retry: { delayMs: 100, jitter: 0, attemptsMax: 3 },
    });
    tester = OutboxTester.of(slice.app);
  });

  beforeEach(() => {
    tester.clear();
  });

  afterAll(async () => {
    tester.stop();
    await slice.app.close();
    await database.drop();
  });

  const cleared = async (customerId: string): Promise<number> =>
    (await slice.lines.findOneByOrFail({ customerId })).cleared;

  it('is drained when the handler has finished', async () => {
    await slice.lines.save({ customerId: 'anna' });
    await slice.orders.place('o1', 'anna');
    await tester.drained();
    expect(await cleared('anna')).toBe(1);
    expect(await tester.published('order.placed')).toMatchObject([
      { type: 'order.placed', key: 'anna', status: 'sent', payload: { id: 'o1', customerId: 'anna' } },
    ]);
    expect(tester.rolledBack()).toEqual([]);
  });

  it('tells what was rolled back', async () => {
    await expect(
      slice.outbox.transaction(async () => {
        await slice.orders.place('o2', 'anna');
        throw new Error('changed my mind');
      }),
    ).rejects.toThrow('changed my mind');
    await tester.drained();
    expect(await tester.published()).toEqual([]);
    expect(tester.rolledBack('order.placed')).toHaveLength(1);
  });

  it('tries a failing handler again by the back-off of its row, and keeps no effect of the failure', async () => {
    await slice.lines.save({ customerId: 'berta' });
    slice.carts.failures.set('o3', 2);
    const sent = slice.app.get(OutboxEvents).next('message.sent');
    await slice.orders.place('o3', 'berta');
    expect(await sent).toMatchObject({ type: 'order.placed', attempts: 3 });
    expect(await cleared('berta')).toBe(1);
  });

  it('makes a dead letter of what never succeeds, parks its key, and sends it all when it is redriven', async () => {
    await slice.lines.save({ customerId: 'carl' });
    slice.carts.failures.set('o4', 3);
    const dead = slice.app.get(OutboxEvents).next('message.deadLetter');
    await slice.orders.place('o4', 'carl');
    await slice.orders.place('o5', 'carl');
    expect(await dead).toMatchObject({ key: 'carl' });
    expect(await slice.app.get(OutboxRelay).stats()).toMatchObject({ deadLetters: 1, blocked: 1 });
    expect(await slice.deadLetters.redrive({ key: 'carl' }, { dryRun: true })).toMatchObject({ count: 1 });
    await slice.deadLetters.redrive({ key: 'carl' });
    await waitFor(async () => (await cleared('carl')) === 2);
    expect(slice.carts.handled.slice(-2)).toEqual(['o4', 'o5']);
  }, 60_000);
});
