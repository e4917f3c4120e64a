import request from 'supertest';
import { waitFor } from '../../support/wait-for';
import { SETTINGS, ShopSetting } from './support/shop-setting';

const CUSTOMERS = 60;

describe.each(SETTINGS)('the shop on $database, $broker, killed in the middle', (setting) => {
  let shop: ShopSetting;

  beforeAll(async () => {
    shop = await ShopSetting.create(setting);
    await shop.start();
  }, 120_000);
  afterAll(() => shop.dispose(), 30_000);

  it('loses nothing and doubles nothing', async () => {
    await request(shop.url)
      .put('/products/tea')
      .send({ name: 'Tea', priceCents: 500, stock: 1_000 })
      .expect(200);
    const customers = Array.from({ length: CUSTOMERS }, (_, index) => `customer-${index}`);
    for (const customerId of customers) {
      await request(shop.url)
        .post(`/carts/${customerId}/items`)
        .send({ sku: 'tea', quantity: 3 })
        .expect(201);
    }

    let placed = 0;
    let restart: Promise<void> | undefined;
    const order = async (customerId: string): Promise<string> => {
      for (;;) {
        const answer = await request(shop.url)
          .post('/orders')
          .set('Idempotency-Key', 'the-only-one')
          .send({ customerId, items: [{ sku: 'tea', quantity: 1 }] })
          .catch(() => undefined);
        if (answer?.status === 201) {
          placed += 1;
          if (placed === CUSTOMERS / 4) restart = shop.process.kill().then(() => shop.start());
          return answer.body.id as string;
        }
        expect(answer?.status).toBeUndefined();
        // Nobody answers until it is started again.
        await restart;
      }
    };
    const orderIds = await Promise.all(customers.map(order));
    await restart;

    expect(new Set(orderIds).size).toBe(CUSTOMERS);
    expect(await shop.count('orders')).toBe(CUSTOMERS);
    await waitFor(async () => (await shop.count('payment_requests')) >= CUSTOMERS, { timeoutMs: 45_000 });
    await waitFor(async () => (await shop.count('cart_items', 'quantity < 3')) >= CUSTOMERS, {
      timeoutMs: 45_000,
    });
    await waitFor(async () => (await shop.count('outbox_message', "status <> 'sent'")) === 0, {
      timeoutMs: 45_000,
    });
    expect(await shop.count('payment_requests')).toBe(CUSTOMERS);
    expect(await shop.count('cart_items', 'quantity = 2')).toBe(CUSTOMERS);
    expect(await shop.count('inbox_message')).toBe(2 * CUSTOMERS);
  }, 120_000);
});
