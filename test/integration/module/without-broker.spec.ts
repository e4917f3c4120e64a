import { RABBIT_CONFIG_TOKEN, RabbitMQModule } from '@golevelup/nestjs-rabbitmq';
import { type INestApplication, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { OutboxModule } from 'nestjs-outbox';
import { inProcess } from 'nestjs-outbox/in-process';
import { outboxMigrations } from 'nestjs-outbox/migrations';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';
import { OutboxTester, withoutBroker } from 'nestjs-outbox/testing';

import { createTestDatabase, type TestDatabase } from '../../support/shared-servers';
import { CartLine, Carts, Order, Orders } from './thin-slice';

/** An application as it goes to production: it knows of a broker, which is not there. */
function productionModule(url: string) {
  @Module({
    imports: [
      TypeOrmModule.forRoot({
        type: 'postgres',
        url,
        entities: [Order, CartLine],
        synchronize: true,
        migrations: outboxMigrations(),
        migrationsRun: true,
      }),
      TypeOrmModule.forFeature([Order, CartLine]),
      RabbitMQModule.forRoot({ uri: 'amqp://127.0.0.1:1', exchanges: [{ name: 'shop', type: 'topic' }] }),
      OutboxModule.forRoot({ transport: { broker: rabbitMq({ exchange: 'shop' }) } }),
    ],
    providers: [Orders, Carts],
  })
  class App {}
  return App;
}

describe('an application under test, without its broker', () => {
  let database: TestDatabase;
  let app: INestApplication;
  let tester: OutboxTester;

  beforeAll(async () => {
    database = await createTestDatabase('postgres');
    const builder = Test.createTestingModule({ imports: [productionModule(database.url)] });
    withoutBroker(builder, { transport: inProcess(), brokerConfigurations: [RABBIT_CONFIG_TOKEN] });
    app = (await builder.compile()).createNestApplication({ logger: false });
    await app.init();
    tester = OutboxTester.of(app);
  });

  afterAll(async () => {
    tester?.stop();
    await app?.close();
    await database.drop();
  });

  it('runs its own handlers, and sees what was published under the names of production', async () => {
    await app.get(Orders).place('o1', 'anna');
    await tester.drained();
    expect(app.get(Carts).handled).toEqual(['o1']);
    expect(await tester.published('order.placed')).toMatchObject([
      { transport: 'broker', payload: { id: 'o1' } },
    ]);
  });

  it('forgets what went before when it is cleared', async () => {
    tester.clear();
    expect(await tester.published()).toEqual([]);
  });
});
