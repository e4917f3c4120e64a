import { RabbitMQModule, RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { type INestApplicationContext, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule, InjectRepository } from '@nestjs/typeorm';
import {
  Idempotent,
  OutboxEvents,
  OutboxModule,
  type TransportDefinition,
  TransactionalEvent,
} from 'nestjs-outbox';
import { inProcess } from 'nestjs-outbox/in-process';
import { outboxMigrations } from 'nestjs-outbox/migrations';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';
import { Column, Entity, PrimaryGeneratedColumn, Repository } from 'typeorm';

import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';

@Entity()
class Step {
  @PrimaryGeneratedColumn() position!: number;
  @Column({ type: 'varchar', length: 60 }) orderId!: string;
  @Column({ type: 'int' }) step!: number;
}

@Injectable()
class Orders {
  @TransactionalEvent('order.moved', { key: (moved: { id: string }) => moved.id })
  async move(id: string, step: number): Promise<{ id: string; step: number }> {
    return { id, step };
  }
}

@Injectable()
class Warehouse {
  readonly failed = new Set<string>();

  constructor(@InjectRepository(Step) private readonly steps: Repository<Step>) {}

  // As in the README.
  @RabbitSubscribe({
    exchange: 'shop',
    routingKey: 'order.*',
    queue: 'warehouse.orders',
    queueOptions: { channel: 'ordered' },
  })
  @Idempotent({ ordered: { partitions: 8 } })
  async onOrder({ id, step }: { id: string; step: number }): Promise<void> {
    await this.steps.insert({ orderId: id, step });
    const name = `${id}/${step}`;
    if (step % 3 !== 0 || this.failed.has(name)) return;
    this.failed.add(name);
    throw new Error('the shelf is locked');
  }
}

/** What stands in the README, but for the transport. */
async function startApplication(
  database: TestDatabase,
  transport: TransportDefinition,
  rabbitMqUrl: string | null,
): Promise<INestApplicationContext> {
  const rabbit =
    rabbitMqUrl === null
      ? []
      : [
          RabbitMQModule.forRoot({
            uri: rabbitMqUrl,
            exchanges: [{ name: 'shop', type: 'topic' }],
            channels: { ordered: { prefetchCount: 1 } },
          }),
        ];
  @Module({
    imports: [
      TypeOrmModule.forRoot({
        type: database.type,
        url: database.url,
        entities: [Step],
        synchronize: true,
        migrations: outboxMigrations(),
        migrationsRun: true,
      }),
      TypeOrmModule.forFeature([Step]),
      ...rabbit,
      OutboxModule.forRoot({
        transport,
        retry: { delayMs: 10, jitter: 0 },
        idempotency: { retryDelaysMs: [10] },
      }),
    ],
    providers: [Orders, Warehouse],
  })
  class App {}
  return NestFactory.createApplicationContext(App, { logger: false, abortOnError: false });
}

const overRabbitMq = () =>
  rabbitMq({
    exchange: 'shop',
    orderedQueues: [{ name: 'warehouse.orders', partitions: 8, bind: 'order.*' }],
  });

describe.each<[string, () => TransportDefinition, boolean]>([
  ['over RabbitMQ', overRabbitMq, true],
  ['in process', inProcess, false],
  ['in process, beside RabbitMQModule', () => inProcess({ exchange: 'shop' }), true],
])('a handler in order, %s', (_name, transport, withRabbitMq) => {
  let database: TestDatabase;
  let app: INestApplicationContext;

  beforeAll(async () => {
    database = await createTestDatabase('postgres');
    app = await startApplication(database, transport(), withRabbitMq ? (await createVhost()).url : null);
  });

  afterAll(async () => {
    await app?.close();
    await database.drop();
  });

  it('has each message once, and those of a key in the order of their commits', async () => {
    const ids = Array.from({ length: 12 }, (_, index) => `order-${index}`);
    const steps = [1, 2, 3, 4, 5, 6];
    const duplicates: unknown[] = [];
    app.get(OutboxEvents).on('inbox.duplicate', (event) => duplicates.push(event));
    const deliveries: string[] = [];
    app.get(OutboxEvents).on('inbox.handled', ({ consumer }) => deliveries.push(consumer));
    const moveAll = async (id: string) => {
      for (const step of steps) await app.get(Orders).move(id, step);
    };
    await Promise.all(ids.map(moveAll));
    const rows = app.get<Repository<Step>>('StepRepository');
    await waitFor(async () => (await rows.count()) === ids.length * steps.length, { timeoutMs: 20_000 });
    const found = await rows.find({ order: { position: 'ASC' } });
    for (const id of ids) {
      expect(found.filter(({ orderId }) => orderId === id).map(({ step }) => step)).toEqual(steps);
    }
    expect(new Set(deliveries)).toEqual(new Set(['warehouse.orders']));
    expect(duplicates).toEqual([]);
  }, 60_000);
});
