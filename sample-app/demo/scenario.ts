import { setTimeout as delay } from 'node:timers/promises';

import { buyers, FLASH, flashSku, MUGS, mugSku, others, type Plan } from './plan';
import { type Progress, progress } from './progress';
import type { ShopClient } from './shop-client';
import type { ShopProcess } from './shop-process';

const CLIENTS_AT_ONCE = 32;

/** Every customer fills a cart. */
export async function fillCarts(plan: Plan, client: ShopClient): Promise<void> {
  await client.expect('PUT', `/products/${flashSku(plan)}`, {
    name: 'Last one',
    priceCents: 999,
    stock: plan.flashStock,
  });
  await client.expect('PUT', `/products/${mugSku(plan)}`, {
    name: 'Mug',
    priceCents: 1_250,
    stock: 1_000_000,
  });
  const carts = [
    ...buyers(plan).map((customerId) => ({ customerId, sku: flashSku(plan), quantity: FLASH.inCart })),
    ...others(plan).map((customerId) => ({ customerId, sku: mugSku(plan), quantity: MUGS.inCart })),
  ];
  const bar = progress('customers fill carts', carts.length);
  await forEach(carts, async ({ customerId, ...item }) => {
    await client.expect('POST', `/carts/${customerId}/items`, item);
    bar.step();
  });
  bar.end();
}

/**
 * All buyers want one of the last items at the same moment, while the others go on ordering. In the middle of it the shop
 * is killed and started again. @returns the ids of the orders that clients were told of.
 */
export async function sell(plan: Plan, client: ShopClient, shop: ShopProcess): Promise<string[]> {
  const told: string[] = [];
  const bar = progress('flash sale and other orders', plan.customers);
  let interruption: Promise<void> | undefined;
  const order = async (customerId: string, sku: string, quantity: number): Promise<void> => {
    const { status, body } = await client.placeOrder({ customerId, items: [{ sku, quantity }] }, customerId);
    if (status === 201) told.push((body as { id: string }).id);
    else if (status !== 409) throw new Error(`an order was answered with ${status}: ${JSON.stringify(body)}`);
    bar.step();
    if (told.length >= plan.killAfterOrders) interruption ??= interrupt(shop, bar);
  };
  await Promise.all([
    ...buyers(plan).map((customerId) => order(customerId, flashSku(plan), FLASH.ordered)),
    forEach(others(plan), (customerId) => order(customerId, mugSku(plan), MUGS.ordered)),
  ]);
  await interruption;
  bar.end();
  return told;
}

async function interrupt(shop: ShopProcess, bar: Progress): Promise<void> {
  await shop.kill();
  bar.note('shop killed (SIGKILL)');
  await delay(300);
  await shop.start();
  bar.note('shop started again');
}

/** So many at once, and not all. */
async function forEach<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: CLIENTS_AT_ONCE }, worker));
}
