import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { type ConsumeMessage } from 'amqplib';
import { DataSource } from 'typeorm';
import { Idempotent } from '../../../../lib/decorators/idempotent.decorator';
import { startConsumerApp } from '../consumer-app';

/** What the parent says about this consumer. */
export interface OrderedConsumerTerms {
  readonly type: 'postgres' | 'mysql';
  readonly databaseUrl: string;
  readonly brokerUrl: string;
  readonly queueType: 'classic' | 'quorum';
  readonly partitions: number;
  readonly spread: 'slots' | 'consistentHash';
  /** How often a message of which the number is a multiple of 4 fails before it succeeds. */
  readonly failures: number;
  readonly retryDelayMs: number;
}

/** What it tells its parent. */
export type OrderedConsumerNews =
  | { readonly kind: 'ready' | 'retry' }
  | { readonly kind: 'handled'; readonly key: string; readonly number: number; readonly atOnce: number };

const terms = JSON.parse(process.argv[2] as string) as OrderedConsumerTerms;
const tell = (news: OrderedConsumerNews) => process.send?.(news);
const failed = new Map<string, number>();
let running = 0;

@Injectable()
class Handlers {
  constructor(private readonly dataSource: DataSource) {}

  @RabbitSubscribe({
    exchange: 'shop',
    routingKey: 'order.*',
    queue: 'cart.orders',
    queueOptions: { channel: 'ordered', arguments: { 'x-queue-type': terms.queueType } },
  })
  @Idempotent({ ordered: { partitions: terms.partitions, spread: terms.spread } })
  async onOrder(event: { key: string; number: number }, message: ConsumeMessage): Promise<void> {
    running += 1;
    const atOnce = running;
    try {
      await this.dataSource.manager.query(
        `INSERT INTO ordered_effect (message_key, message_number) VALUES ('${event.key}', ${event.number})`,
      );
      const id = String(message.properties.messageId);
      const failures = failed.get(id) ?? 0;
      failed.set(id, failures + 1);
      if (event.number % 4 === 0 && failures < terms.failures) throw new Error('Not yet');
    } finally {
      running -= 1;
    }
    tell({ kind: 'handled', ...event, atOnce });
  }
}

async function main(): Promise<void> {
  const app = await startConsumerApp({
    database: { type: terms.type, url: terms.databaseUrl },
    brokerUrl: terms.brokerUrl,
    providers: [Handlers],
    rabbit: { channels: { ordered: { prefetchCount: 1 } } },
    idempotency: { retryDelaysMs: [terms.retryDelayMs] },
  });
  app.events.on('inbox.retry', () => tell({ kind: 'retry' }));
  process.on('message', () => void app.close().then(() => process.exit()));
  tell({ kind: 'ready' });
}

void main();
