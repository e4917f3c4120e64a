import {
  type BeforeApplicationShutdown,
  Inject,
  type INestApplicationContext,
  Injectable,
  Module,
  type OnApplicationShutdown,
  type OnModuleInit,
  type Provider,
} from '@nestjs/common';
import {
  DiscoveryModule,
  DiscoveryService,
  ExternalContextCreator,
  MetadataScanner,
  ModuleRef,
} from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { RabbitMQModule, type RabbitMQConfig } from '@golevelup/nestjs-rabbitmq';
import { DataSource } from 'typeorm';
import type { Alarm } from '../../../lib/core/alarm.port';
import { systemClock } from '../../../lib/core/clock';
import { OutboxEvents } from '../../../lib/core/events';
import { OUTBOX_PART, outboxToken } from '../../../lib/core/tokens';
import { type CommitListener } from '../../../lib/core/transactions.port';
import { type AlarmCallback, DeadLetterAlarm } from '../../../lib/dead-letter/dead-letter-alarm';
import { IdempotencyRuntime } from '../../../lib/idempotency/idempotency-runtime';
import {
  type IdempotentHandlers,
  installIdempotentHandlers,
} from '../../../lib/idempotency/rabbitmq/install-idempotent-handlers';
import { createStores } from '../../../lib/store/create-stores';
import { outboxMigrations } from '../../../lib/store/migrations';
import { TypeOrmTransactions } from '../../../lib/transaction/typeorm-transactions';
import { type TestDatabase } from '../../support/shared-servers';

/** Options of `idempotency` that make a test short. */
export const QUICK = {
  attemptsMax: 3,
  retryDelaysMs: [100],
  duplicateWaitMs: 5_000,
  transientAttemptsMax: 10,
};

export interface ConsumerAppOptions {
  readonly database: Pick<TestDatabase, 'type' | 'url'>;
  readonly brokerUrl: string;
  readonly providers: Provider[];
  readonly rabbit?: Partial<RabbitMQConfig>;
  readonly idempotency?: Partial<typeof QUICK>;
  readonly poolSize?: number;
  readonly alarm?: AlarmCallback;
  /** Called when the handlers are installed, and golevelup has not bound them yet. */
  readonly onInstalled?: () => void;
}

export interface ConsumerApp {
  readonly context: INestApplicationContext;
  readonly dataSource: DataSource;
  readonly events: OutboxEvents;
  close(): Promise<void>;
}

const TERMS = 'terms of the test';

interface Terms {
  readonly options: typeof QUICK;
  readonly events: OutboxEvents;
  readonly alarm: Alarm;
  readonly runtime: IdempotencyRuntime;
  readonly close: () => Promise<void>;
  readonly onInstalled: (() => void) | undefined;
}

/** What `OutboxModule` does with role `consumer`, as far as handlers are concerned. */
@Injectable()
class Installer implements OnModuleInit, BeforeApplicationShutdown, OnApplicationShutdown {
  private handlers: IdempotentHandlers | undefined;

  constructor(
    @Inject(TERMS) private readonly terms: Terms,
    private readonly moduleRef: ModuleRef,
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly contexts: ExternalContextCreator,
  ) {}

  async onModuleInit(): Promise<void> {
    const { runtime, events, alarm, options } = this.terms;
    this.handlers = await installIdempotentHandlers({
      dataSource: 'default',
      runtime,
      events,
      alarm,
      options,
      clock: systemClock,
      discovery: this.discovery,
      scanner: this.scanner,
      contexts: this.contexts,
      resolve: (token) => this.moduleRef.get(token as never, { strict: false }),
    });
    this.terms.onInstalled?.();
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.handlers?.stop();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.terms.close();
  }
}

/** No outbox here: a consumer publishes nothing. */
const silentListener: CommitListener = {
  write: () => Promise.reject(new Error('Nothing is published here')),
  committed: () => undefined,
  lost: () => undefined,
  escaped: () => undefined,
};

/** A Nest application that consumes. Only one of them may be open in a process: golevelup binds handlers once. */
export async function startConsumerApp(options: ConsumerAppOptions): Promise<ConsumerApp> {
  const { onInstalled } = options;
  const { type, url } = options.database;
  const dataSource = new DataSource({
    type,
    url,
    poolSize: options.poolSize ?? 10,
    migrations: outboxMigrations(),
    migrationsRun: true,
  });
  await dataSource.initialize();
  const stores = createStores({ dataSource });
  await stores.inbox.verify();
  const transactions = new TypeOrmTransactions({
    dataSource,
    listener: silentListener,
    options: { escapedWrites: 'error', connectionWaitMs: 5_000 },
    clock: systemClock,
  });
  transactions.install();
  const events = new OutboxEvents();
  const idempotency = { ...QUICK, ...options.idempotency };
  const runtime = new IdempotencyRuntime({
    transactions,
    inbox: stores.inbox,
    events,
    options: idempotency,
    clock: systemClock,
  });
  const alarm = new DeadLetterAlarm({
    events,
    store: stores.alarms,
    alarm: options.alarm,
    clock: systemClock,
    leaseMs: 30_000,
    outside: (work) => transactions.outside(work),
  });
  const close = async () => {
    transactions.uninstall();
    await stores.close();
    await dataSource.destroy();
  };

  @Module({
    imports: [DiscoveryModule],
    providers: [
      {
        provide: TERMS,
        useValue: { options: idempotency, events, alarm, runtime, close, onInstalled } satisfies Terms,
      },
      { provide: outboxToken(OUTBOX_PART.idempotency), useValue: runtime },
      { provide: DataSource, useValue: dataSource },
      Installer,
      ...options.providers,
    ],
  })
  class ConsumerModule {}

  const rabbit = RabbitMQModule.forRoot({
    uri: options.brokerUrl,
    exchanges: [{ name: 'shop', type: 'topic' }],
    connectionManagerOptions: { reconnectTimeInSeconds: 0.2, heartbeatIntervalInSeconds: 5 },
    ...options.rabbit,
  });
  const module = await Test.createTestingModule({ imports: [rabbit, ConsumerModule] }).compile();
  module.useLogger(process.env.TEST_LOGS ? ['error', 'warn', 'log', 'debug'] : false);
  try {
    await module.init();
  } catch (error) {
    // Nest closes no application that did not start.
    await module.get(RabbitMQModule, { strict: false }).onApplicationShutdown();
    await close();
    throw error;
  }
  return { context: module, dataSource, events, close: () => module.close() };
}
