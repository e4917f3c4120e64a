import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { type ConsumeMessage } from 'amqplib';
import { randomUUID } from 'node:crypto';
import { DataSource } from 'typeorm';
import { Idempotent } from '../../../lib/decorators/idempotent.decorator';
import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { type ConsumerApp, type ConsumerAppOptions, startConsumerApp } from './consumer-app';
import { addEffect, createEffects, effectsOf } from './effects';
import { TestBroker } from './test-broker';

const seen: string[] = [];
const failures = new Map<string, number>();

@Injectable()
class Handlers {
  constructor(private readonly dataSource: DataSource) {}

  @RabbitSubscribe({
    exchange: 'shop',
    routingKey: 'ordered',
    queue: 'ordered',
    queueOptions: { channel: 'ordered', arguments: { 'x-single-active-consumer': true } },
  })
  @Idempotent({ ordered: true })
  async onOrdered(_payload: unknown, message: ConsumeMessage): Promise<void> {
    const id = String(message.properties.messageId);
    seen.push(id);
    await addEffect(this.dataSource, id);
    const left = failures.get(id) ?? 0;
    failures.set(id, left - 1);
    if (left > 0) throw new Error('Not yet');
  }

  /** The broker names the queue, so nothing can return to it. */
  @RabbitSubscribe({ exchange: 'shop', routingKey: 'unnamed', queueOptions: { exclusive: true } })
  @Idempotent({ consumer: 'unnamed.consumer' })
  onUnnamed(_payload: unknown, message: ConsumeMessage): Promise<void> {
    return this.onOrdered(_payload, message);
  }
}

describe('a message that is tried again in its place', () => {
  let database: TestDatabase;
  let broker: TestBroker;
  let app: ConsumerApp;
  let options: ConsumerAppOptions;

  beforeAll(async () => {
    database = await createTestDatabase('postgres');
    const { url } = await createVhost();
    broker = await TestBroker.connect(url);
    options = {
      database,
      brokerUrl: url,
      providers: [Handlers],
      rabbit: { channels: { ordered: { prefetchCount: 1 } } },
    };
    app = await startConsumerApp(options);
    await createEffects(app.dataSource);
  });

  beforeEach(() => {
    seen.length = 0;
  });

  afterAll(async () => {
    await app?.close();
    await broker?.close();
    await database?.drop();
  });

  const handled = (id: string) => app.events.next('inbox.handled', (event) => event.messageKey === id);
  const publish = (routingKey: string, id: string) => broker.publish(routingKey, {}, { messageId: id });

  it('is not overtaken', async () => {
    const [first, second, third] = [randomUUID(), randomUUID(), randomUUID()];
    failures.set(first, 2);
    const done = handled(third);
    for (const id of [first, second, third]) await publish('ordered', id);
    await done;
    expect(seen).toEqual([first, first, first, second, third]);
    for (const id of [first, second, third]) expect(await effectsOf(app.dataSource, id)).toHaveLength(1);
  });

  it('is given up in the end, and then the next one has its turn', async () => {
    const [poison, next] = [randomUUID(), randomUUID()];
    failures.set(poison, 99);
    const done = handled(next);
    const alarm = app.events.next('inbox.deadLetter');
    await publish('ordered', poison);
    await publish('ordered', next);
    expect(await alarm).toMatchObject({ consumer: 'ordered', messageKey: poison, attempts: 3 });
    await done;
    expect(seen).toEqual([poison, poison, poison, next]);
    expect((await broker.take('ordered.dead')).properties.messageId).toBe(poison);
  });

  it('where its queue has no name of its own, and ends in the dead-letter queue of its consumer', async () => {
    const [poison, late] = [randomUUID(), randomUUID()];
    failures.set(poison, 99);
    failures.set(late, 1);
    const done = handled(late);
    const alarm = app.events.next('inbox.deadLetter');
    await publish('unnamed', poison);
    await publish('unnamed', late);
    expect(await alarm).toMatchObject({ consumer: 'unnamed.consumer', attempts: 3 });
    await done;
    expect((await broker.take('unnamed.consumer.dead')).properties.messageId).toBe(poison);
  });

  it('is given back when the application shuts down, and does not hold that up', async () => {
    await app.close();
    app = await startConsumerApp({ ...options, idempotency: { retryDelaysMs: [600_000] } });
    const id = randomUUID();
    failures.set(id, 1);
    const retry = app.events.next('inbox.retry');
    await publish('ordered', id);
    expect(await retry).toMatchObject({ messageKey: id, retryInMs: 600_000 });
    await app.close();
    expect(await waitFor(() => broker.count('ordered'))).toBe(1);

    app = await startConsumerApp(options);
    await waitFor(async () => (await effectsOf(app.dataSource, id)).length === 1);
  });
});
