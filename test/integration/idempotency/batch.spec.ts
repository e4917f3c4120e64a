import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { type ConsumeMessage } from 'amqplib';
import { randomUUID } from 'node:crypto';
import { DataSource } from 'typeorm';
import { Idempotent } from '../../../lib/decorators/idempotent.decorator';
import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { type ConsumerApp, startConsumerApp } from './consumer-app';
import { addEffect, createEffects, effectsOf, inboxKeys } from './effects';
import { TestBroker } from './test-broker';

const SIZE = 4;

interface Item {
  readonly id: string;
  readonly poison?: boolean;
}

@Injectable()
class BatchHandlers {
  readonly batches: string[][] = [];
  readonly shapes: string[] = [];

  constructor(private readonly dataSource: DataSource) {}

  @RabbitSubscribe({
    exchange: 'shop',
    routingKey: 'item',
    queue: 'items',
    batchOptions: { size: SIZE, timeout: 700 },
  })
  @Idempotent()
  async onItems(items: Item[], messages: ConsumeMessage[], headers: unknown[]): Promise<void> {
    this.batches.push(items.map(({ id }) => id));
    this.shapes.push(`${items.length} ${messages.length} ${headers.length}`);
    for (const [index, { id }] of items.entries()) {
      if (messages[index]?.properties.correlationId !== id) throw new Error('The arrays do not match');
      await addEffect(this.dataSource, id, `of ${items.length}`);
    }
    if (items.some(({ poison }) => poison)) throw new Error('Poison');
    // What a handler does to its arguments must not change what is acknowledged.
    messages.length = 0;
  }
}

describe.each(['postgres', 'mysql'] as const)('a batch on %s', (type) => {
  let database: TestDatabase;
  let broker: TestBroker;
  let app: ConsumerApp;
  let handlers: BatchHandlers;

  beforeAll(async () => {
    database = await createTestDatabase(type);
    const { url } = await createVhost();
    broker = await TestBroker.connect(url);
    app = await startConsumerApp({ database, brokerUrl: url, providers: [BatchHandlers] });
    handlers = app.context.get(BatchHandlers);
    await createEffects(app.dataSource);
  });

  afterAll(async () => {
    await app?.close();
    await broker?.close();
    await database?.drop();
  });

  afterEach(async () => {
    expect(await broker.count('items')).toBe(0);
  });

  const ids = (count: number) => Array.from({ length: count }, () => randomUUID());
  const publish = (id: string, item: Partial<Item> = {}, messageId: string | undefined = id) =>
    broker.publish('item', { id, ...item }, { messageId, correlationId: id });
  /** In this order, and at once: a batch does not wait for long. */
  const publishAll = (all: readonly string[]) => Promise.all(all.map((id) => publish(id)));
  const handled = (id: string) => app.events.next('inbox.handled', (event) => event.messageKey === id);

  it('is handled in one go', async () => {
    const batch = ids(SIZE);
    const done = Promise.all(batch.map(handled));
    await publishAll(batch);
    await done;
    expect(handlers.batches.at(-1)).toEqual(batch);
    for (const id of batch) expect(await effectsOf(app.dataSource, id)).toEqual([`of ${SIZE}`]);
    expect(await inboxKeys(app.dataSource, 'items')).toEqual(expect.arrayContaining(batch));
  });

  it('comes without what was handled before, and without what is in it twice', async () => {
    const [old, first, second] = ids(3) as [string, string, string];
    const before = handled(old);
    await publishAll([old, randomUUID(), randomUUID(), randomUUID()]);
    await before;
    const done = Promise.all([first, second].map(handled));
    await publishAll([first, old, first, second]);
    await done;
    expect(handlers.batches.at(-1)).toEqual([first, second]);
    expect(handlers.shapes.at(-1)).toBe('2 2 2');
    expect(await effectsOf(app.dataSource, old)).toEqual([`of ${SIZE}`]);
    expect(await effectsOf(app.dataSource, first)).toEqual(['of 2']);
  });

  it('is acknowledged, and the handler not called, when all of it was handled before', async () => {
    const [old] = ids(1) as [string];
    const before = handled(old);
    await publishAll([old, ...ids(SIZE - 1)]);
    await before;
    const calls = handlers.batches.length;
    let duplicates = 0;
    const stop = app.events.on('inbox.duplicate', () => (duplicates += 1));
    await publishAll(Array.from({ length: SIZE }, () => old));
    await waitFor(() => duplicates === SIZE);
    stop();
    expect(handlers.batches).toHaveLength(calls);
  });

  it('gives up its culprit alone', async () => {
    const [poison, ...good] = ids(SIZE) as [string, ...string[]];
    const done = Promise.all(good.map(handled));
    const alarm = app.events.next('inbox.deadLetter');
    let retries = 0;
    const stop = app.events.on('inbox.retry', () => (retries += 1));
    await Promise.all([publish(poison, { poison: true }), publishAll(good)]);
    await done;
    // The culprit comes back alone, and a batch of one waits for others in vain.
    expect(await alarm).toMatchObject({ messageKey: poison, attempts: 3, error: 'Poison' });
    stop();
    expect(retries).toBe(2);
    for (const id of good) expect(await effectsOf(app.dataSource, id)).toEqual(['of 1']);
    expect(await effectsOf(app.dataSource, poison)).toEqual([]);
    expect((await broker.take('items.dead')).properties.messageId).toBe(poison);
  });

  it('gives up what cannot be read alone', async () => {
    const [unreadable, ...good] = ids(SIZE) as [string, ...string[]];
    const done = Promise.all(good.map(handled));
    const alarm = app.events.next('inbox.deadLetter');
    const first = broker.publish('item', Buffer.from('no json'), { messageId: unreadable });
    await Promise.all([first, publishAll(good)]);
    await done;
    expect(await alarm).toMatchObject({ messageKey: unreadable, attempts: 3 });
    expect((await broker.take('items.dead')).content.toString()).toBe('no json');
  });

  it('gives up what has no id alone, and at once', async () => {
    const [nameless, ...good] = ids(SIZE) as [string, ...string[]];
    const done = Promise.all(good.map(handled));
    const alarm = app.events.next('inbox.deadLetter');
    const first = broker.publish('item', { id: nameless }, { messageId: undefined, correlationId: nameless });
    await Promise.all([first, publishAll(good)]);
    await done;
    expect(await alarm).toMatchObject({ messageKey: null, attempts: 1 });
    for (const id of good) expect(await effectsOf(app.dataSource, id)).toEqual([`of ${SIZE - 1}`]);
    expect(await effectsOf(app.dataSource, nameless)).toEqual([]);
    expect((await broker.take('items.dead')).properties.correlationId).toBe(nameless);
  });
});
