import { RabbitMQModule, RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectDataSource, TypeOrmModule } from '@nestjs/typeorm';
import { Idempotent, OutboxModule } from 'nestjs-outbox';
import { DataSource } from 'typeorm';

import { EFFECT_TABLE, EXCHANGE, MESSAGE_TYPE, QUEUE } from '../harness/names';
import { configOf, serve } from '../harness/serve';
import { monotonicMs } from '../harness/statistics';
import type { RoleConfig } from './config';
import { StatementLog } from './statement-log';

export interface HandlerConfig extends RoleConfig {
  readonly idempotent: boolean;
  readonly concurrency: number;
  /** So many are handled before the clock begins, because a cold process says little. */
  readonly warmUp: number;
}

const SUBSCRIPTION = {
  exchange: EXCHANGE,
  routingKey: MESSAGE_TYPE,
  queue: QUEUE,
  queueOptions: { durable: true },
};

let handled = 0;
let warmAtMs = 0;
let lastMs = 0;

function count(warmUp: number): void {
  handled += 1;
  lastMs = monotonicMs();
  if (handled === warmUp) warmAtMs = lastMs;
}

function handlersOf({ database, idempotent, warmUp }: HandlerConfig): Type {
  const insert = `INSERT INTO ${EFFECT_TABLE} (n) VALUES (${database.type === 'postgres' ? '$1' : '?'})`;

  @Injectable()
  class Once {
    constructor(@InjectDataSource() private readonly dataSource: DataSource) {}

    @RabbitSubscribe(SUBSCRIPTION)
    @Idempotent()
    async handle({ n }: { n: number }): Promise<void> {
      await this.dataSource.manager.query(insert, [n]);
      count(warmUp);
    }
  }

  @Injectable()
  class Unprotected {
    constructor(@InjectDataSource() private readonly dataSource: DataSource) {}

    @RabbitSubscribe(SUBSCRIPTION)
    async handle({ n }: { n: number }): Promise<void> {
      await this.dataSource.transaction((manager) => manager.query(insert, [n]));
      count(warmUp);
    }
  }
  return idempotent ? Once : Unprotected;
}

/** A consumer whose handler makes one INSERT, with or without protection against duplicates. */
serve(async () => {
  const config = configOf<HandlerConfig>();
  const { database, brokerUrl, concurrency, idempotent } = config;
  @Module({
    imports: [
      TypeOrmModule.forRoot({ ...database, poolSize: 20 }),
      RabbitMQModule.forRoot({
        uri: brokerUrl,
        exchanges: [{ name: EXCHANGE, type: 'topic' }],
        prefetchCount: concurrency,
        connectionInitOptions: { wait: true },
      }),
      ...(idempotent ? [OutboxModule.forRoot({ role: 'consumer' })] : []),
    ],
    providers: [handlersOf(config)],
  })
  class Consumer {}
  const app = await NestFactory.createApplicationContext(Consumer, { logger: ['error', 'warn'] });
  let log: StatementLog | undefined;
  return {
    /** Writes down what is sent until `statements` asks for it. */
    log: () => {
      log = new StatementLog(app.get(DataSource));
    },
    statements: () => log?.take(),
    handled: () => ({ count: handled, warmAtMs, lastMs }),
    stop: () => app.close(),
  };
});
