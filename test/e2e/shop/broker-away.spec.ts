import request from 'supertest';
import { createVhost } from '../../support/shared-servers';
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy';
import { waitFor } from '../../support/wait-for';
import { ShopSetting } from './support/shop-setting';

const ORDERS = 20;

describe.each(['postgres', 'mysql'] as const)('the shop on %s while the broker is away', (database) => {
  let network: TcpProxy;
  let shop: ShopSetting;
  const api = () => request(shop.url);

  beforeAll(async () => {
    const { url } = await createVhost();
    network = await startTcpProxy({ target: url });
    network.refuse();
    shop = await ShopSetting.create({ database, broker: 'rabbitmq' }, network.url(url));
    await shop.start();
  }, 120_000);
  afterAll(async () => {
    await shop.dispose();
    network.close();
  }, 30_000);

  async function placeOrders(customer: string): Promise<void> {
    await api().put('/products/tea').send({ name: 'Tea', priceCents: 500, stock: 100 }).expect(200);
    for (let number = 1; number <= ORDERS; number += 1) {
      const customerId = `${customer}-${number}`;
      await api().post(`/carts/${customerId}/items`).send({ sku: 'tea', quantity: 1 }).expect(201);
      await api()
        .post('/orders')
        .send({ customerId, items: [{ sku: 'tea', quantity: 1 }] })
        .expect(201);
    }
  }

  async function everythingArrives(customer: string): Promise<void> {
    const ofCustomer = `customer_id LIKE '${customer}-%'`;
    await waitFor(async () => (await shop.count('payment_requests', ofCustomer)) === ORDERS, {
      timeoutMs: 45_000,
    });
    await waitFor(async () => (await shop.count('cart_items', ofCustomer)) === 0, { timeoutMs: 45_000 });
  }

  it('opens, takes orders, and sends their messages when the broker is there', async () => {
    await placeOrders('early');
    // Not only unreachable: in this virtual host nothing was declared so far, and a message that left before both of its
    // queues are there would miss one.
    await api().get('/health').expect(200, { status: 'ok', database: 'up', messaging: 'paused' });
    const { body: stats } = await api().get('/outbox/stats').expect(200);
    expect(stats).toMatchObject({ pending: ORDERS, sent: 0, deadLetters: 0 });
    expect(stats.oldestUnsentMs).toBeGreaterThan(0);

    await network.accept();
    await everythingArrives('early');
    await waitFor(async () => (await api().get('/health')).body.messaging === 'up');
  }, 120_000);

  it('goes on when the broker goes away and comes back', async () => {
    network.refuse();
    network.cut();
    await placeOrders('late');
    await network.accept();
    await everythingArrives('late');
    expect(await shop.count('payment_requests')).toBe(2 * ORDERS);
  }, 120_000);

  it('closes at once while the broker is away', async () => {
    network.refuse();
    network.cut();
    await waitFor(async () => (await api().get('/health')).body.messaging === 'unreachable');
    expect(await shop.process.stop()).toBe(0);
  });
});
