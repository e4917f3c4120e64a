import { type RabbitMQConfig, RabbitMQModule } from '@golevelup/nestjs-rabbitmq';
import { type INestApplicationContext, Module, type Provider } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import { Outbox, OutboxModule, type OutboxModuleOptions, OutboxRelay } from 'nestjs-outbox';
import { outboxMigrations } from 'nestjs-outbox/migrations';
import type { DataSource } from 'typeorm';

import type { TestDatabase } from '../support/shared-servers';

export interface ApplicationOptions {
  readonly database: TestDatabase;
  readonly outbox: OutboxModuleOptions;
  /** Connections of the application's own pool. @default the driver's */
  readonly poolSize?: number;
  readonly providers?: Provider[];
  /** With this, handlers consume from RabbitMQ. */
  readonly rabbitMqUrl?: string;
  readonly rabbit?: Partial<RabbitMQConfig>;
}

export interface Application {
  readonly context: INestApplicationContext;
  readonly outbox: Outbox;
  readonly relay: OutboxRelay;
  readonly dataSource: DataSource;
}

/** One process's worth of an application: TypeORM, the outbox, and whatever handlers the test brings. */
export async function startApplication(options: ApplicationOptions): Promise<Application> {
  const { database, outbox, poolSize, providers = [], rabbitMqUrl, rabbit } = options;
  const broker =
    rabbitMqUrl === undefined
      ? []
      : [
          RabbitMQModule.forRoot({
            uri: rabbitMqUrl,
            exchanges: [{ name: 'shop', type: 'topic' }],
            ...rabbit,
          }),
        ];
  @Module({
    imports: [
      TypeOrmModule.forRoot({
        type: database.type,
        url: database.url,
        migrations: outboxMigrations(),
        migrationsRun: true,
        ...(poolSize === undefined ? {} : { poolSize }),
      }),
      ...broker,
      OutboxModule.forRoot(outbox),
    ],
    providers,
  })
  class App {}
  const context = await NestFactory.createApplicationContext(App, { logger: false });
  return {
    context,
    outbox: context.get(Outbox),
    relay: context.get(OutboxRelay),
    dataSource: context.get<DataSource>(getDataSourceToken()),
  };
}

/** How many messages are in each status. */
export async function statuses({ dataSource }: Application): Promise<Record<string, number>> {
  const rows: { status: string; n: string }[] = await dataSource.query(
    'SELECT status, count(*) AS n FROM outbox_message GROUP BY status',
  );
  return Object.fromEntries(rows.map(({ status, n }) => [status, Number(n)]));
}
