import { Injectable, NotFoundException } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { randomUUID } from 'node:crypto';
import { Outbox, TransactionalEvent } from 'nestjs-outbox';
import type { Repository } from 'typeorm';

import { isUniqueViolation } from '../database/unique-violation';
import { OrderPaid, OrderPlaced } from '../messages';
import { ProductsService } from '../products/products.service';
import type { PlaceOrder } from './order.dto';
import { Order } from './order.entity';
import { OrderItem } from './order-item.entity';

@Injectable()
export class OrdersService {
  constructor(
    @InjectRepository(Order) private readonly orders: Repository<Order>,
    @InjectRepository(OrderItem) private readonly orderItems: Repository<OrderItem>,
    private readonly products: ProductsService,
    private readonly outbox: Outbox,
  ) {}

  async find(id: string): Promise<Order> {
    const order = await this.orders.findOneBy({ id });
    if (!order) throw new NotFoundException(`There is no order ${id}`);
    return order;
  }

  /** Places an order, or finds the one that the same request has placed before. */
  async place(command: PlaceOrder, idempotencyKey: string): Promise<Order> {
    const request = { customerId: command.customerId, idempotencyKey };
    const earlier = await this.orders.findOneBy(request);
    if (earlier) return earlier;
    try {
      return await this.placeNew(command, idempotencyKey);
    } catch (error) {
      // The same request twice at the same time: one of them got through, and both get its order.
      if (isUniqueViolation(error)) return this.orders.findOneByOrFail(request);
      throw error;
    }
  }

  /** The order, its items, the stock and the message: all of it is committed, or none. */
  @TransactionalEvent('order.placed', {
    key: (order: Order) => order.id,
    payload: ({ id, customerId, totalCents, items }: Order): OrderPlaced => ({
      orderId: id,
      customerId,
      totalCents,
      items: items.map(({ sku, quantity }) => ({ sku, quantity })),
    }),
    schema: OrderPlaced,
  })
  async placeNew({ customerId, items }: PlaceOrder, idempotencyKey: string): Promise<Order> {
    const id = randomUUID();
    // In one order for everybody, so that two buyers of the same two products do not wait for each other in a circle.
    const orderItems = items
      .map(({ sku, quantity }) => ({ orderId: id, sku, quantity }))
      .sort((one, other) => (one.sku < other.sku ? -1 : 1));
    let totalCents = 0;
    for (const { sku, quantity } of orderItems) {
      totalCents += (await this.products.offer(sku, quantity)).priceCents * quantity;
    }
    const order = { id, customerId, idempotencyKey, status: 'placed' as const, totalCents };
    await this.orders.insert(order);
    await this.orderItems.insert(orderItems);
    // The last thing, because everybody else who wants the product waits from here to the commit.
    for (const { sku, quantity } of orderItems) await this.products.take(sku, quantity);
    return { ...order, items: orderItems };
  }

  /** Paying twice is paying once: only the first time changes the order, and only that is told. */
  pay(id: string): Promise<Order> {
    return this.outbox.transaction(async () => {
      const { affected } = await this.orders.update({ id, status: 'placed' }, { status: 'paid' });
      if (affected) await this.outbox.publish('order.paid', { orderId: id }, { key: id, schema: OrderPaid });
      return this.find(id);
    });
  }
}
