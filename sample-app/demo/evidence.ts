import { type InboxMessageEntity, outboxEntities, type OutboxMessageEntity } from 'nestjs-outbox';
import { DataSource, In, Like, type Repository } from 'typeorm';

import { CartItem } from '../carts/cart-item.entity';
import { dataSourceOptions } from '../database/database';
import { DroppedDuplicate } from '../messaging/dropped-duplicate.entity';
import { Order } from '../orders/order.entity';
import { OrderItem } from '../orders/order-item.entity';
import { PaymentRequest } from '../payments/payment-request.entity';
import { Product } from '../products/product.entity';
import type { Facts } from './checker';
import { FLASH, flashSku, MUGS, type Plan } from './plan';

/** The demo's own look at the database: what the shop says of itself is not asked. */
export class Evidence {
  private constructor(private readonly dataSource: DataSource) {}

  static async open(url: string): Promise<Evidence> {
    const options = dataSourceOptions(url);
    const entities = [
      ...[CartItem, DroppedDuplicate, Order, OrderItem, PaymentRequest, Product],
      ...outboxEntities(options.type),
    ];
    const dataSource = new DataSource({ ...options, entities, migrationsRun: false, poolSize: 2 });
    return new Evidence(await dataSource.initialize());
  }

  async collect(plan: Plan, toldOrderIds: readonly string[]): Promise<Facts> {
    const ofThisRun = { customerId: Like(`${plan.run}-%`) };
    const orders = await this.dataSource.getRepository(Order).findBy(ofThisRun);
    const messages = await this.messages().findBy({
      type: 'order.placed',
      key: In(orders.map(({ id }) => id)),
    });
    const messageKey = In(messages.map(({ id }) => id));
    return {
      expectedOrders: plan.flashStock + plan.customers - plan.buyers,
      toldOrderIds,
      orders,
      messages,
      payments: await this.dataSource.getRepository(PaymentRequest).findBy(ofThisRun),
      carts: await this.carts(plan, orders),
      duplicates: await this.dataSource.getRepository(DroppedDuplicate).findBy({ messageKey }),
      inbox: await this.inbox().findBy({ messageKey }),
      stockLeft: (await this.dataSource.getRepository(Product).findOneByOrFail({ sku: flashSku(plan) }))
        .stock,
    };
  }

  async close(): Promise<void> {
    await this.dataSource.destroy();
  }

  /** What each order should have left in its customer's cart, and what it has. */
  private async carts(plan: Plan, orders: readonly Order[]): Promise<Facts['carts']> {
    const cartItems = await this.dataSource
      .getRepository(CartItem)
      .findBy({ customerId: Like(`${plan.run}-%`) });
    const left = new Map(cartItems.map(({ customerId, quantity }) => [customerId, quantity]));
    return orders.map(({ customerId, items }) => {
      const { inCart, ordered } = items[0]?.sku === flashSku(plan) ? FLASH : MUGS;
      return { customerId, before: inCart, expected: inCart - ordered, left: left.get(customerId) ?? 0 };
    });
  }

  private messages(): Repository<OutboxMessageEntity> {
    return this.dataSource.getRepository<OutboxMessageEntity>('NestjsOutboxMessage');
  }

  private inbox(): Repository<InboxMessageEntity> {
    return this.dataSource.getRepository<InboxMessageEntity>('NestjsOutboxInboxMessage');
  }
}
