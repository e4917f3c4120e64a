import { type RabbitMQConfig, RabbitMQModule, RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { type INestApplicationContext, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import {
  DeadLetters,
  Idempotent,
  Outbox,
  OutboxModule,
  type OutboxModuleOptions,
  TransactionalEvent,
} from 'nestjs-outbox';
import { outboxMigrations } from 'nestjs-outbox/migrations';
import { Column, Entity, PrimaryColumn, Repository } from 'typeorm';

import type { TestDatabase } from '../../support/shared-servers';

@Entity()
export class Order {
  @PrimaryColumn({ type: 'varchar', length: 60 }) id!: string;
  @Column({ type: 'varchar', length: 60 }) customerId!: string;
}

@Entity()
export class CartLine {
  @PrimaryColumn({ type: 'varchar', length: 60 }) customerId!: string;
  /** How often it was cleared: 1 when the message took effect once. */
  @Column({ type: 'int', default: 0 }) cleared!: number;
}

@Injectable()
export class Orders {
  constructor(@InjectRepository(Order) private readonly orders: Repository<Order>) {}

  @TransactionalEvent('order.placed', { key: (order: Order) => order.customerId })
  async place(id: string, customerId: string, fail = false): Promise<Order> {
    const order = await this.orders.save(this.orders.create({ id, customerId }));
    if (fail) throw new Error('the card was declined');
    return order;
  }
}

@Injectable()
export class Carts {
  /** Deliveries that reached the handler, by order. */
  readonly handled: string[] = [];
  /** Throws for these orders as often as said. */
  readonly failures = new Map<string, number>();

  constructor(@InjectRepository(CartLine) private readonly carts: Repository<CartLine>) {}

  @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'cart.order-placed' })
  @Idempotent()
  async onOrderPlaced(order: { id: string; customerId: string }): Promise<void> {
    this.handled.push(order.id);
    await this.carts.increment({ customerId: order.customerId }, 'cleared', 1);
    const left = this.failures.get(order.id) ?? 0;
    if (left === 0) return;
    this.failures.set(order.id, left - 1);
    throw new Error('the cart is locked');
  }
}

export interface ThinSlice {
  readonly app: INestApplicationContext;
  readonly orders: Orders;
  readonly carts: Carts;
  readonly lines: Repository<CartLine>;
  readonly outbox: Outbox;
  readonly deadLetters: DeadLetters;
}

/** One order, one row, one confirmed message, one cart cleared. */
export async function startThinSlice(
  database: TestDatabase,
  options: OutboxModuleOptions,
  rabbitMqUrl?: string,
  rabbitMqOptions: Partial<RabbitMQConfig> = {},
): Promise<ThinSlice> {
  const rabbit =
    rabbitMqUrl === undefined
      ? []
      : [
          RabbitMQModule.forRoot({
            uri: rabbitMqUrl,
            exchanges: [{ name: 'shop', type: 'topic' }],
            prefetchCount: 20,
            ...rabbitMqOptions,
          }),
        ];
  @Module({
    imports: [
      TypeOrmModule.forRoot({
        type: database.type,
        url: database.url,
        entities: [Order, CartLine],
        synchronize: true,
        migrations: outboxMigrations(),
        migrationsRun: true,
      }),
      TypeOrmModule.forFeature([Order, CartLine]),
      ...rabbit,
      OutboxModule.forRoot(options),
    ],
    providers: [Orders, Carts],
  })
  class App {}
  const app = await NestFactory.createApplicationContext(App, {
    logger: process.env.TEST_LOG === undefined ? false : ['error', 'warn', 'log'],
  });
  const lines = app.get<Repository<CartLine>>(`${CartLine.name}Repository`);
  return {
    app,
    orders: app.get(Orders),
    carts: app.get(Carts),
    lines,
    outbox: app.get(Outbox),
    deadLetters: app.get(DeadLetters),
  };
}
