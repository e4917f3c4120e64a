import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Outbox, OutboxModule, type OutboxModuleOptions } from 'nestjs-outbox';
import { inProcess } from 'nestjs-outbox/in-process';
import { outboxMigrations } from 'nestjs-outbox/migrations';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';

import { DataSource } from 'typeorm';

import { createTestDatabase, type TestDatabase } from '../../support/shared-servers';

describe('booting', () => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await createTestDatabase('postgres');
    // Once, and before all: an application that is refused goes on connecting behind the back of the next test.
    const { type, url } = database;
    const dataSource = await new DataSource({
      type,
      url,
      migrations: outboxMigrations(),
      migrationsRun: true,
    }).initialize();
    await dataSource.destroy();
  });

  afterAll(() => database.drop());

  const boot = (
    options: OutboxModuleOptions,
    typeOrm: object = {},
    imports: (typeof ScheduleModule)[] = [],
  ) => {
    @Module({
      imports: [
        TypeOrmModule.forRoot({
          type: 'postgres',
          url: database.url,
          migrations: outboxMigrations(),
          migrationsRun: true,
          retryAttempts: 0,
          ...typeOrm,
        }),
        OutboxModule.forRoot(options),
        ...imports.map((schedule) => schedule.forRoot()),
      ],
    })
    class App {}
    return NestFactory.createApplicationContext(App, { logger: false, abortOnError: false });
  };

  it.each<[string, () => Promise<unknown>, RegExp]>([
    ['no transport', () => boot({}), /^transport: is missing\. Give one, e\.g\. transport: rabbitMq/],
    [
      'a misspelt option',
      () => boot({ transport: inProcess(), rely: {} } as never),
      /^rely: is no option\. Known here: .*relay/,
    ],
    [
      'a lease not longer than the send limit',
      () =>
        boot({
          transport: rabbitMq({ exchange: 'shop', uri: 'amqp://127.0.0.1:1', sendTimeoutMs: 5_000 }),
          relay: { leaseMs: 5_000 },
        }),
      /^relay\.leaseMs: is 5000 ms/,
    ],
    [
      'a cron expression that is none',
      () => boot({ transport: inProcess(), relay: { cron: 'soon' } }),
      /^relay\.cron: 'soon' is no cron/,
    ],
    [
      'tables that are not there',
      () => boot({ transport: inProcess(), tables: { prefix: 'other_' } }),
      /outboxMigrations/,
    ],
    [
      'RabbitMQ without its address',
      () => boot({ transport: rabbitMq({ exchange: 'shop' }) }),
      /RabbitMQModule|uri/,
    ],
  ])('refuses %s and names the remedy', async (_what, start, message) => {
    const error = await start().then(
      async (app) => {
        await (app as { close(): Promise<void> }).close();
        return new Error('it booted');
      },
      (failure: Error) => failure,
    );
    expect(error.message).toMatch(message);
    expect(error).toHaveProperty('code');
  });

  it('stops the transports that it had started, when it refuses the relay', async () => {
    const calls: string[] = [];
    const usual = inProcess();
    const watched: typeof usual = {
      ...usual,
      create: async (context) => {
        const transport = await usual.create(context);
        for (const name of ['start', 'stop'] as const) {
          const call = transport[name].bind(transport);
          transport[name] = () => {
            calls.push(name);
            return call();
          };
        }
        return transport;
      },
    };
    await expect(boot({ transport: watched, relay: { cron: 'soon' } })).rejects.toThrow(/relay\.cron/);
    expect(calls).toEqual(['start', 'stop']);
  });

  it('creates the tables of an application that synchronizes', async () => {
    const fresh = await createTestDatabase('postgres');
    const app = await boot(
      { transport: inProcess() },
      { url: fresh.url, synchronize: true, migrations: [], migrationsRun: false },
    );
    await app.get(Outbox).transaction(() => app.get(Outbox).publish('a', {}));
    await app.close();
    await fresh.drop();
  });

  it('puts its job into the application’s own scheduler, and takes it out again', async () => {
    const app = await boot({ transport: inProcess() }, {}, [ScheduleModule]);
    const registry = app.get(SchedulerRegistry);
    expect(registry.getIntervals()).toEqual(['outbox-resend:default']);
    await app.close();
    expect(registry.getIntervals()).toEqual([]);
  });

  it('beats by cron where it is told so', async () => {
    const app = await boot({ transport: inProcess(), relay: { cron: '* * * * * *' } }, {}, [ScheduleModule]);
    expect([...app.get(SchedulerRegistry).getCronJobs().keys()]).toEqual(['outbox-resend:default']);
    await app.close();
  });

  it('runs an inbox without an outbox, and refuses to publish there', async () => {
    const app = await boot({ role: 'consumer' });
    const outbox = app.get(Outbox);
    await expect(outbox.transaction(() => outbox.publish('a', {}))).rejects.toMatchObject({ option: 'role' });
    await app.close();
  });
});
