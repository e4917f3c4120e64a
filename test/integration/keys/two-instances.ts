import { type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { OutboxModule, type OutboxModuleOptions } from 'nestjs-outbox';
import { DeadLetters, Outbox, OutboxEvents, OutboxRelay } from 'nestjs-outbox';
import { outboxMigrations } from 'nestjs-outbox/migrations';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';
import { DataSource } from 'typeorm';
import { OUTBOX_PART, outboxToken } from '../../../lib/core/tokens';
import type { OutboxAssembly } from '../../../lib/outbox.assembly';
import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { lockWaits } from '../../support/lock-waits';
import { waitFor } from '../../support/wait-for';
import { Observer } from '../transports/rabbitmq.fixtures';

export const EXCHANGE = 'orders';

/** An application with a connection pool, a relay and a broker connection of its own. */
export interface Instance {
  readonly app: INestApplicationContext;
  readonly outbox: Outbox;
  readonly relay: OutboxRelay;
  readonly events: OutboxEvents;
  readonly deadLetters: DeadLetters;
  readonly dataSource: DataSource;
  readonly parts: OutboxAssembly;
}

/** One database, one broker, and what arrives at a queue of it; types that begin with `event.` are routed there. */
export class Setting {
  private readonly instances: Instance[] = [];
  private looker: Promise<DataSource> | undefined;

  private constructor(
    readonly database: TestDatabase,
    private readonly url: string,
    private readonly observer: Observer,
    private readonly received: readonly { readonly properties: { readonly messageId?: unknown } }[],
  ) {}

  static async open(type: TestDatabase['type']): Promise<Setting> {
    const [database, vhost] = await Promise.all([createTestDatabase(type), createVhost()]);
    const observer = await Observer.at(vhost.url);
    const received = await observer.collect(await observer.queue(EXCHANGE, 'event.#'));
    return new Setting(database, vhost.url, observer, received);
  }

  async start(options: Omit<OutboxModuleOptions, 'transport'> = {}): Promise<Instance> {
    const { type, url } = this.database;
    const unroutable = { default: 'deadLetter' } as const;
    const transport = rabbitMq({ uri: this.url, exchange: EXCHANGE, unroutable, sendTimeoutMs: 1_000 });
    @Module({
      imports: [
        TypeOrmModule.forRoot({ type, url, migrations: outboxMigrations(), migrationsRun: true }),
        OutboxModule.forRoot({ ...options, transport }),
      ],
    })
    class App {}
    const app = await NestFactory.createApplicationContext(App, { logger: false });
    const instance = {
      app,
      outbox: app.get(Outbox),
      relay: app.get(OutboxRelay),
      events: app.get(OutboxEvents),
      deadLetters: app.get(DeadLetters),
      dataSource: app.get(DataSource),
      parts: app.get<OutboxAssembly>(outboxToken(OUTBOX_PART.assembly)),
    };
    this.instances.push(instance);
    return instance;
  }

  /** The ids of what has arrived, first copies, in their order. */
  get arrived(): string[] {
    return [...new Set(this.received.map(({ properties }) => String(properties.messageId)))];
  }

  /** Waits until all of these have arrived. @returns these, in the order of their arrival */
  async arrival(ids: readonly string[], timeoutMs = 10_000): Promise<string[]> {
    await waitFor(() => ids.every((id) => this.arrived.includes(id)), {
      timeoutMs,
      intervalMs: 5,
      what: `${ids.length} messages at the queue`,
    });
    return this.arrived.filter((id) => ids.includes(id));
  }

  /** Asks or changes the tables, past all instances. */
  async query<Row = Record<string, unknown>>(sql: string): Promise<Row[]> {
    const { type, url } = this.database;
    this.looker ??= new DataSource({ type, url }).initialize();
    return (await this.looker).query<Row[]>(sql);
  }

  async statusOf(id: string): Promise<unknown> {
    const [row] = await this.query(`SELECT status FROM outbox_message WHERE id = '${id}'`);
    return row?.status;
  }

  /** The database's clock, so many milliseconds from now. */
  inMs(milliseconds: number): string {
    return this.database.type === 'postgres'
      ? `clock_timestamp() + ${milliseconds} * interval '1 millisecond'`
      : `UTC_TIMESTAMP(6) + INTERVAL ${milliseconds * 1_000} MICROSECOND`;
  }

  async someoneWaitsForALock(): Promise<void> {
    await waitFor(async () => (await lockWaits(this.database.type, (sql) => this.query(sql))) > 0, {
      what: 'a transaction that waits for a lock',
    });
  }

  async stop(instance: Instance): Promise<void> {
    this.instances.splice(this.instances.indexOf(instance), 1);
    await instance.app.close();
  }

  async close(): Promise<void> {
    await Promise.all(this.instances.map(({ app }) => app.close()));
    await (await this.looker)?.destroy();
    await this.observer.close();
    await this.database.drop();
  }
}
