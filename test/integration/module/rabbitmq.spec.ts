import { DeadLetters, OutboxRelay } from 'nestjs-outbox';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';

import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { startThinSlice, type ThinSlice } from './thin-slice';

describe.each(['postgres', 'mysql'] as const)('the module over RabbitMQ on %s', (type) => {
  let database: TestDatabase;
  let slice: ThinSlice;

  beforeAll(async () => {
    database = await createTestDatabase(type);
    const vhost = await createVhost();
    slice = await startThinSlice(
      database,
      { transport: rabbitMq({ exchange: 'shop' }), source: 'tests' },
      vhost.url,
    );
  });

  afterAll(async () => {
    await slice.app.close();
    await database.drop();
  });

  const cleared = async (customerId: string): Promise<number> =>
    (await slice.lines.findOneByOrFail({ customerId })).cleared;

  it('takes an order, writes a row, has it confirmed, and clears the cart, once', async () => {
    await slice.lines.save({ customerId: 'anna' });
    await slice.orders.place('o1', 'anna');
    await waitFor(async () => (await cleared('anna')) === 1);
    await slice.app.get(OutboxRelay).flush();
    expect(await slice.app.get(OutboxRelay).stats()).toMatchObject({
      pending: 0,
      deadLetters: 0,
      oldestUnsentMs: 0,
      inFlight: 0,
    });
    expect(slice.carts.handled).toEqual(['o1']);
  });

  it('sends nothing for an order that failed', async () => {
    await expect(slice.orders.place('o2', 'anna', true)).rejects.toThrow('declined');
    await slice.orders.place('o3', 'anna');
    await waitFor(() => slice.carts.handled.includes('o3'));
    expect(slice.carts.handled).not.toContain('o2');
  });

  it('tries a failing handler again, after a pause, and keeps no effect of the failure', async () => {
    await slice.lines.save({ customerId: 'berta' });
    slice.carts.failures.set('o4', 1);
    await slice.orders.place('o4', 'berta');
    await waitFor(async () => (await cleared('berta')) === 1, { timeoutMs: 15_000 });
    expect(slice.carts.handled.filter((id) => id === 'o4')).toHaveLength(2);
  });

  it('carries many orders', async () => {
    await slice.lines.save({ customerId: 'carl' });
    await Promise.all(Array.from({ length: 200 }, (_, index) => slice.orders.place(`many-${index}`, 'carl')));
    await waitFor(async () => (await cleared('carl')) === 200, { timeoutMs: 20_000 });
    expect(await slice.app.get(DeadLetters).count()).toBe(0);
  });
});
