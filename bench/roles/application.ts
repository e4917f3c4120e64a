import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Outbox, OutboxEvents, OutboxModule, type OutboxModuleOptions, OutboxRelay } from 'nestjs-outbox';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';
import { DataSource } from 'typeorm';

import { EXCHANGE, MESSAGE_TYPE, TRANSPORT, insertOrder, payloadOf } from '../harness/names';
import { configOf, serve } from '../harness/serve';
import { monotonicMs } from '../harness/statistics';
import { CommitClock } from './commit-clock';
import { type ClosedLoop, type OpenLoop, type RoleConfig, type Sent, keyOf } from './config';
import { closedLoop, openLoop } from './loops';
import { Order, OrderService } from './orders';
import { StatementLog } from './statement-log';

export interface ApplicationConfig extends RoleConfig {
  readonly role: OutboxModuleOptions['role'];
}

/** An application with the outbox, in its defaults. */
serve(async () => {
  const { database, brokerUrl, role } = configOf<ApplicationConfig>();
  @Module({
    imports: [
      TypeOrmModule.forRoot({ ...database, poolSize: 20, subscribers: [CommitClock], entities: [Order] }),
      TypeOrmModule.forFeature([Order]),
      OutboxModule.forRoot({
        role,
        source: 'bench',
        transport: { [TRANSPORT]: rabbitMq({ exchange: EXCHANGE, uri: brokerUrl }) },
      }),
    ],
    providers: [OrderService],
  })
  class Application {}
  const app = await NestFactory.createApplicationContext(Application, { logger: ['error', 'warn'] });
  const outbox = app.get(Outbox);
  const relay = app.get(OutboxRelay);
  const dataSource = app.get(DataSource);
  const orders = app.get(OrderService);
  const insert = insertOrder(database.type);
  let sent: Sent = { count: 0, lastMs: 0 };
  app.get(OutboxEvents).on('message.sent', () => {
    sent = { count: sent.count + 1, lastMs: monotonicMs() };
  });
  const transact = (n: number, bytes: number, key: string | null, numbered: boolean): Promise<unknown> =>
    outbox.transaction(async () => {
      if (numbered) CommitClock.number(dataSource.manager.queryRunner, n);
      await dataSource.manager.query(insert, [`customer ${n}`, n]);
      const keyOfThis = keyOf(n, key);
      await outbox.publish(MESSAGE_TYPE, payloadOf(n, bytes), keyOfThis === null ? {} : { key: keyOfThis });
    });
  return {
    pause: () => relay.pause(),
    resume: () => {
      relay.resume();
      return monotonicMs();
    },
    sent: () => sent,
    forget: () => {
      sent = { count: 0, lastMs: 0 };
    },
    /** What one transaction with a message sends. */
    statements: async ({ bytes, key }: { bytes: number; key: string | null }) => {
      const log = new StatementLog(dataSource);
      await transact(1, bytes, key, false);
      return log.take();
    },
    memoryBytes: () => process.memoryUsage().rss,
    flush: () => relay.flush({ timeoutMs: 120_000 }),
    closedLoop: (loop: ClosedLoop) => {
      const { bytes, key, business } = loop;
      return closedLoop(loop, (n) =>
        business === 'entity' ? orders.place({ n, bytes, key }) : transact(n, bytes, key, false),
      );
    },
    openLoop: async (loop: OpenLoop) => {
      CommitClock.take();
      await openLoop(loop, (n) => transact(n, loop.bytes, null, true));
      return CommitClock.take();
    },
    stop: () => app.close(),
  };
});
