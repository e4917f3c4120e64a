import request from 'supertest';
import { waitFor } from '../../support/wait-for';
import { SETTINGS, ShopSetting } from './support/shop-setting';

describe.each(SETTINGS)('the shop on $database, $broker', (setting) => {
  let shop: ShopSetting;
  const api = () => request(shop.url);

  beforeAll(async () => {
    shop = await ShopSetting.create(setting);
    await shop.start();
  }, 120_000);
  afterAll(() => shop.dispose(), 30_000);

  const putProduct = (sku: string, stock: number, priceCents = 1_250) =>
    api()
      .put(`/products/${sku}`)
      .send({ name: `The ${sku}`, priceCents, stock })
      .expect(200);
  const fillCart = (customerId: string, sku: string, quantity: number) =>
    api().post(`/carts/${customerId}/items`).send({ sku, quantity }).expect(201);
  const placeOrder = (customerId: string, ...items: { sku: string; quantity: number }[]) =>
    api().post('/orders').send({ customerId, items });
  const cartOf = async (customerId: string) => (await api().get(`/carts/${customerId}`).expect(200)).body;
  const paymentsOf = async (orderId: string) =>
    (await api().get('/payments').query({ orderId }).expect(200)).body;

  it('keeps products', async () => {
    const mug = { name: 'Mug, blue ☕', priceCents: 1_250, stock: 3 };
    await api()
      .put('/products/mug')
      .send(mug)
      .expect(200, { sku: 'mug', ...mug });
    await api()
      .put('/products/mug')
      .send({ ...mug, stock: 7 })
      .expect(200, { sku: 'mug', ...mug, stock: 7 });
    await api().put('/products/MUG').send(mug).expect(200);
    await api()
      .get('/products/mug')
      .expect(200, { sku: 'mug', ...mug, stock: 7 });
    await api().get('/products/nothing').expect(404);
  });

  it('keeps carts', async () => {
    await api().get('/carts/nobody').expect(200, { customerId: 'nobody', items: [] });
    await fillCart('carl', 'pen', 1);
    await fillCart('carl', 'ink', 2);
    const { body } = await fillCart('carl', 'pen', 3);
    expect(body).toEqual({
      customerId: 'carl',
      items: [
        { sku: 'ink', quantity: 2 },
        { sku: 'pen', quantity: 4 },
      ],
    });
    expect(await cartOf('carl')).toEqual(body);
  });

  it('adds up what one customer puts in at the same time', async () => {
    await Promise.all(Array.from({ length: 10 }, () => fillCart('hasty', 'pen', 1)));
    expect(await cartOf('hasty')).toEqual({ customerId: 'hasty', items: [{ sku: 'pen', quantity: 10 }] });
  });

  it('places an order: the ordered items leave the cart, and the buyer is asked to pay, once', async () => {
    await putProduct('lamp', 10, 4_000);
    await putProduct('bulb', 10, 150);
    await fillCart('ann', 'lamp', 1);
    await fillCart('ann', 'bulb', 3);
    await fillCart('ann', 'chair', 1);
    const { body: order } = await placeOrder(
      'ann',
      { sku: 'lamp', quantity: 1 },
      { sku: 'bulb', quantity: 2 },
    ).expect(201);
    expect(order).toEqual({ id: expect.any(String), status: 'placed', totalCents: 4_300 });

    const payments = await waitFor(async () => {
      const found = await paymentsOf(order.id);
      return found.length > 0 && found;
    });
    expect(payments).toEqual([
      {
        id: expect.any(String),
        orderId: order.id,
        customerId: 'ann',
        amountCents: 4_300,
        status: 'requested',
      },
    ]);
    const items = await waitFor(async () => {
      const cart = await cartOf('ann');
      return cart.items.length === 2 && cart.items;
    });
    expect(items).toEqual([
      { sku: 'bulb', quantity: 1 },
      { sku: 'chair', quantity: 1 },
    ]);
    expect((await api().get('/products/bulb')).body.stock).toBe(8);
    const { body: found } = await api().get(`/orders/${order.id}`).expect(200);
    expect(found).toMatchObject({ ...order, customerId: 'ann' });
    expect(found.items).toEqual(
      expect.arrayContaining([
        { sku: 'lamp', quantity: 1 },
        { sku: 'bulb', quantity: 2 },
      ]),
    );
  });

  it('refuses an order when stock is short, and leaves no trace of it', async () => {
    await putProduct('plenty', 10);
    await putProduct('scarce', 1);
    await fillCart('bea', 'plenty', 1);
    const before = await Promise.all([
      shop.count('orders'),
      shop.count('order_items'),
      shop.count('outbox_message'),
    ]);
    const items = ['plenty', 'scarce'].map((sku) => ({ sku, quantity: 2 }));
    const { body } = await placeOrder('bea', ...items).expect(409);
    expect(body.message).toContain('scarce');
    expect(
      await Promise.all([shop.count('orders'), shop.count('order_items'), shop.count('outbox_message')]),
    ).toEqual(before);
    expect((await api().get('/products/plenty')).body.stock).toBe(10);
    expect((await api().get('/products/scarce')).body.stock).toBe(1);
    expect((await cartOf('bea')).items).toEqual([{ sku: 'plenty', quantity: 1 }]);
  });

  it('does not know what was never there', async () => {
    await placeOrder('eve', { sku: 'unicorn', quantity: 1 }).expect(404);
    await api().get('/orders/none').expect(404);
    await api().post('/orders/none/pay').expect(404);
    await api().get('/payments').query({ orderId: 'none' }).expect(200, []);
  });

  it.each<[string, string, object | undefined, string]>([
    ['PUT', '/products/mug', { priceCents: 1, stock: 1 }, 'name'],
    ['PUT', '/products/mug', { name: 'm\u0000', priceCents: 1, stock: 1 }, 'name'],
    ['PUT', '/products/mug', { name: 'm', priceCents: -1, stock: 1 }, 'priceCents'],
    ['PUT', '/products/mug', { name: 'm', priceCents: 1, stock: 1.5 }, 'stock'],
    ['PUT', '/products/no%20good', { name: 'm', priceCents: 1, stock: 1 }, 'sku'],
    ['POST', '/carts/ann/items', { sku: 'mug' }, 'quantity'],
    ['POST', '/carts/ann/items', { sku: 'mug', quantity: 0 }, 'quantity'],
    ['POST', '/carts/ann/items', { quantity: 1 }, 'sku'],
    ['GET', `/carts/${'x'.repeat(65)}`, undefined, 'customerId'],
    ['POST', '/orders', undefined, 'customerId'],
    ['POST', '/orders', { items: [{ sku: 'mug', quantity: 1 }] }, 'customerId'],
    ['POST', '/orders', { customerId: 'ann' }, 'items'],
    ['POST', '/orders', { customerId: 'ann', items: [] }, 'items'],
    ['POST', '/orders', { customerId: 'ann', items: [null] }, 'items'],
    ['POST', '/orders', { customerId: 'ann', items: 'mug' }, 'items'],
    ['POST', '/orders', { customerId: 'ann', items: [{ sku: 'mug', quantity: '1' }] }, 'items.0.quantity'],
    [
      'POST',
      '/orders',
      {
        customerId: 'ann',
        items: [
          { sku: 'a', quantity: 1 },
          { sku: 'a', quantity: 1 },
        ],
      },
      'items',
    ],
    ['GET', '/orders/%00', undefined, 'id'],
    ['GET', '/payments', undefined, 'orderId'],
  ])('%s %s with %j names the property %s', async (method, path, payload, property) => {
    const call = method === 'PUT' ? api().put(path) : method === 'POST' ? api().post(path) : api().get(path);
    const { body } = await (payload ? call.send(payload) : call).expect(400);
    expect(body.message).toEqual(expect.arrayContaining([expect.stringContaining(`${property} `)]));
  });

  it('places one order for one Idempotency-Key', async () => {
    await putProduct('book', 100);
    const place = (key: string, customerId = 'ida') =>
      placeOrder(customerId, { sku: 'book', quantity: 1 }).set('Idempotency-Key', key).expect(201);
    const first = await place('k1');
    expect((await place('k1')).body).toEqual(first.body);
    expect((await place('k2')).body.id).not.toBe(first.body.id);
    expect((await place('k1', 'ike')).body.id).not.toBe(first.body.id);
    await placeOrder('ida', { sku: 'book', quantity: 1 }).set('Idempotency-Key', 'x'.repeat(65)).expect(400);

    const atOnce = await Promise.all(Array.from({ length: 10 }, () => place('k3')));
    expect(new Set(atOnce.map(({ body }) => body.id)).size).toBe(1);
    expect((await api().get('/products/book')).body.stock).toBe(96);
    expect(await shop.count('orders', "customer_id = 'ida'")).toBe(3);
  });

  it('is paid once', async () => {
    await putProduct('cup', 5, 300);
    const { body: order } = await placeOrder('pia', { sku: 'cup', quantity: 1 }).expect(201);
    await waitFor(async () => (await paymentsOf(order.id)).length > 0);
    const paid = { id: order.id, status: 'paid' };
    const answers = await Promise.all([1, 2, 3].map(() => api().post(`/orders/${order.id}/pay`).expect(200)));
    expect(answers.map(({ body }) => body)).toEqual([paid, paid, paid]);
    await api()
      .get(`/orders/${order.id}`)
      .expect(({ body }) => expect(body.status).toBe('paid'));
    await waitFor(async () => (await paymentsOf(order.id))[0].status === 'paid');
    expect(await shop.count('outbox_message', "type = 'order.paid'")).toBe(1);
  });

  it('sells the last items to as many buyers as there are items, and asks each of them to pay once', async () => {
    await putProduct('last', 20, 999);
    const customers = Array.from({ length: 200 }, (_, index) => `flash-${index}`);
    const answers = await Promise.all(
      customers.map((customerId) => placeOrder(customerId, { sku: 'last', quantity: 1 })),
    );
    const statuses = answers.map(({ status }) => status).sort();
    expect(statuses).toEqual([...Array<number>(20).fill(201), ...Array<number>(180).fill(409)]);
    expect((await api().get('/products/last')).body.stock).toBe(0);
    const ids = answers.filter(({ status }) => status === 201).map(({ body }) => body.id);
    for (const id of ids) await waitFor(async () => (await paymentsOf(id)).length === 1);
    expect(await shop.count('payment_requests', "customer_id LIKE 'flash-%'")).toBe(20);
  });

  it('tells what an operator wants to know', async () => {
    const stats = await waitFor(async () => {
      const { body } = await api().get('/outbox/stats').expect(200);
      return body.pending === 0 && body;
    });
    expect(stats).toMatchObject({ pending: 0, deadLetters: 0, oldestUnsentMs: 0, sent: expect.any(Number) });
    expect(stats.sent).toBeGreaterThan(0);
    await api().get('/outbox/dead-letters').expect(200, { items: [], next: null });
    const { body: explanation } = await api().get('/outbox/messages/nobody/explanation').expect(200);
    expect(explanation).toMatchObject({ reason: 'not-found', text: expect.stringContaining('nobody') });
    await api().get('/health').expect(200, { status: 'ok', database: 'up', messaging: 'up' });
  });

  it('has had nothing to say meanwhile', () => {
    expect(shop.process.output).toBe(`Shop is listening on ${shop.url}\n`);
  });
});
