import { RabbitMQModule, RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import {
  type INestApplicationContext,
  Injectable,
  type LoggerService,
  Module,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectDataSource, TypeOrmModule } from '@nestjs/typeorm';
import { Idempotent, OutboxModule } from 'nestjs-outbox';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';
import type { DataSource } from 'typeorm';

import type { CampaignPayload, MemberTask } from '../protocol';
import {
  BATCH_QUEUE,
  EFFECT_QUEUE_OPTIONS,
  MAIN_EXCHANGE,
  RETRY_DELAYS_MS,
  SINGLE_QUEUE,
  TABLE_PREFIX,
} from '../topology';
import type { Journal } from './journal';
import type { KillPoints } from './kill-points';

/** One delivery in so many fails, and is tried again. */
const FAILURE_ODDS = 50;

/** What the effects of the application are told through. */
export interface Surroundings {
  readonly task: MemberTask;
  readonly journal: Journal;
  readonly killPoints: KillPoints;
}

/** The consumers: each message leaves one row for each queue, in the handler's transaction. */
function effectsOf({ journal, killPoints }: Surroundings): Type {
  @Injectable()
  class Effects {
    constructor(@InjectDataSource() private readonly dataSource: DataSource) {}

    @RabbitSubscribe({
      exchange: MAIN_EXCHANGE,
      routingKey: '#',
      queue: SINGLE_QUEUE,
      queueOptions: EFFECT_QUEUE_OPTIONS,
    })
    @Idempotent()
    async one(payload: CampaignPayload): Promise<void> {
      await this.take(SINGLE_QUEUE, [payload]);
    }

    @RabbitSubscribe({
      exchange: MAIN_EXCHANGE,
      routingKey: '#',
      queue: BATCH_QUEUE,
      queueOptions: EFFECT_QUEUE_OPTIONS,
      batchOptions: { size: 10, timeout: 20 },
    })
    @Idempotent()
    async many(payloads: CampaignPayload[]): Promise<void> {
      await this.take(BATCH_QUEUE, payloads);
    }

    private async take(queue: string, payloads: readonly CampaignPayload[]): Promise<void> {
      for (const { id, hopeless } of payloads) {
        journal.write({ did: 'handle', queue, id });
        await this.dataSource.manager.query(
          `INSERT INTO ${TABLE_PREFIX}effect (message_id, queue) VALUES ('${id}', '${queue}')`,
        );
        killPoints.pass('inside a handler');
        if (!hopeless && Math.random() * FAILURE_ODDS >= 1) continue;
        journal.write({ did: 'handler failed', queue, id });
        throw new Error(hopeless ? 'this one is never taken' : 'not this time');
      }
    }
  }
  return Effects;
}

/** One process of the fleet as a Nest application. */
export async function startApplication(surroundings: Surroundings): Promise<INestApplicationContext> {
  const { task, journal } = surroundings;
  @Module({
    imports: [
      TypeOrmModule.forRoot({
        ...task.database,
        poolSize: 10,
        retryAttempts: 200,
        retryDelay: 250,
        // A connection that a proxy has swallowed must not hang for ever.
        ...(task.database.type === 'postgres' ? { connectTimeoutMS: 5_000 } : { connectTimeout: 5_000 }),
      }),
      RabbitMQModule.forRoot({
        uri: task.rabbitMqUrl,
        exchanges: [{ name: MAIN_EXCHANGE, type: 'topic' }],
        prefetchCount: 20,
        registerHandlers: task.kind === 'consumer',
        connectionInitOptions: { wait: false, skipConnectionFailedLogging: true },
        connectionManagerOptions: { reconnectTimeInSeconds: 1, heartbeatIntervalInSeconds: 2 },
      }),
      OutboxModule.forRoot({
        role:
          task.kind === 'consumer'
            ? 'consumer'
            : task.kind === 'relay'
              ? 'relay'
              : task.fastPath
                ? 'full'
                : 'publisher',
        source: task.name,
        transport: rabbitMq({
          exchange: MAIN_EXCHANGE,
          declareExchange: false,
          sendTimeoutMs: Math.floor(task.leaseMs / 3),
          heartbeatSeconds: 2,
          reconnectDelayMaxMs: 500,
        }),
        tables: { prefix: TABLE_PREFIX },
        relay: {
          leaseMs: task.leaseMs,
          intervalMs: 200,
          idleIntervalMaxMs: 500,
          sweepIntervalMs: 500,
          probeIntervalMs: 200,
          shutdownTimeoutMs: 3_000,
        },
        // Many of these processes die with messages in hand, and none is to blame for it.
        retry: { attemptsMax: 3, delayMs: 100, claimsMax: 1_000 },
        idempotency: { attemptsMax: 5, retryDelaysMs: RETRY_DELAYS_MS, duplicateWaitMs: 3_000 },
        alarm: (event) => {
          if (task.breakage === 'the alarm is silent') return;
          const [side, id] =
            'id' in event ? (['outbox', event.id] as const) : (['inbox', event.messageKey ?? ''] as const);
          journal.write({ did: 'alarm', side, id, error: event.error });
        },
      }),
    ],
    providers: task.kind === 'consumer' ? [effectsOf(surroundings)] : [],
  })
  class Member {}
  return NestFactory.createApplicationContext(Member, {
    logger: journalLogger(journal),
    abortOnError: false,
  });
}

/** Warnings and errors, where a person who looks for a violation's cause finds them. */
function journalLogger(journal: Journal): LoggerService {
  const write = (message: unknown, ...context: unknown[]): void =>
    journal.write({ did: 'log', text: [message, ...context].map(String).join(' ').slice(0, 500) });
  return { log: () => undefined, warn: write, error: write };
}
