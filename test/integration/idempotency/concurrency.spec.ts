import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { type ConsumeMessage } from 'amqplib';
import { randomUUID } from 'node:crypto';
import { DataSource } from 'typeorm';
import { Idempotent } from '../../../lib/decorators/idempotent.decorator';
import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { type Signal, signal } from '../../support/signal';
import { lockWaits } from '../../support/lock-waits';
import { waitFor } from '../../support/wait-for';
import { type ConsumerApp, startConsumerApp } from './consumer-app';
import { addEffect, createEffects, effectsOf, inboxKeys } from './effects';
import { TestBroker } from './test-broker';

type Step = (attempt: number, message: ConsumeMessage) => Promise<void>;

@Injectable()
class Handlers {
  readonly attempts = new Map<string, number>();
  readonly steps = new Map<string, Step>();

  constructor(private readonly dataSource: DataSource) {}

  @RabbitSubscribe({ exchange: 'shop', routingKey: 'payment', queue: 'payments' })
  @Idempotent()
  onPayment(_payload: unknown, message: ConsumeMessage): Promise<void> {
    return this.handle(message);
  }

  /** Two on one queue compete for its messages, and share its inbox. */
  @RabbitSubscribe({ exchange: 'shop', routingKey: 'shared.a', queue: 'shared' })
  @Idempotent()
  onSharedA(_payload: unknown, message: ConsumeMessage): Promise<void> {
    return this.handle(message);
  }

  @RabbitSubscribe({ exchange: 'shop', routingKey: 'shared.b', queue: 'shared' })
  @Idempotent()
  onSharedB(_payload: unknown, message: ConsumeMessage): Promise<void> {
    return this.handle(message);
  }

  private async handle(message: ConsumeMessage): Promise<void> {
    const id = String(message.properties.messageId);
    const attempt = (this.attempts.get(id) ?? 0) + 1;
    this.attempts.set(id, attempt);
    await addEffect(this.dataSource, id, `attempt ${attempt}`);
    await this.steps.get(id)?.(attempt, message);
  }
}

describe.each(['postgres', 'mysql'] as const)('concurrent deliveries on %s', (type) => {
  let database: TestDatabase;
  let broker: TestBroker;
  let brokerUrl: string;
  let app: ConsumerApp;
  let handlers: Handlers;

  /** MySQL counts this limit in whole seconds. */
  const start = async (duplicateWaitMs: number) => {
    app = await startConsumerApp({
      database,
      brokerUrl,
      providers: [Handlers],
      idempotency: { duplicateWaitMs },
    });
    handlers = app.context.get(Handlers);
  };

  beforeAll(async () => {
    database = await createTestDatabase(type);
    brokerUrl = (await createVhost()).url;
    broker = await TestBroker.connect(brokerUrl);
    // Longer than all that is to happen while others wait.
    await start(60_000);
    await createEffects(app.dataSource);
    await app.dataSource.query('CREATE TABLE stock (sku varchar(20) PRIMARY KEY, amount int NOT NULL)');
    await app.dataSource.query("INSERT INTO stock VALUES ('left', 0), ('right', 0)");
  });

  afterAll(async () => {
    await app?.close();
    await broker?.close();
    await database?.drop();
  });

  /** Asked over connections of the pool that no handler holds. */
  const twoWait = () =>
    waitFor(async () => (await lockWaits(type, (sql) => app.dataSource.query(sql))) === 2, {
      what: 'two to wait for the first',
    });
  const handled = (id: string) => app.events.next('inbox.handled', (event) => event.messageKey === id);
  const duplicatesOf = (id: string) => {
    let count = 0;
    app.events.on('inbox.duplicate', (event) => (count += event.messageKey === id ? 1 : 0));
    return () => count;
  };
  const publishCopies = async (id: string, copies: number) => {
    for (let copy = 0; copy < copies; copy += 1) await broker.publish('payment', {}, { messageId: id });
  };

  it('of one message have one effect, when the first of three rolls back while the others wait for it', async () => {
    const id = randomUUID();
    const rollBack = signal('the roll back');
    handlers.steps.set(id, async (attempt) => {
      if (attempt > 1) return;
      await rollBack.wait();
      throw new Error('The first one fails');
    });
    const retries: number[] = [];
    const stop = app.events.on('inbox.retry', ({ attempts }) => retries.push(attempts));
    const done = handled(id);
    const duplicates = duplicatesOf(id);
    await publishCopies(id, 3);
    await twoWait();
    rollBack.fire();
    await done;
    // The third copy, and the first one's retry.
    await waitFor(() => duplicates() === 2);
    stop();
    // The first one's own failure, and none by a deadlock of those that waited for it.
    expect(retries).toEqual([1]);
    expect(await effectsOf(app.dataSource, id)).toHaveLength(1);
    expect(await inboxKeys(app.dataSource, 'payments')).toContain(id);
    await waitFor(async () => (await broker.count('payments')) === 0);
  });

  it('wait for the first, and are duplicates when it commits', async () => {
    const id = randomUUID();
    const commit = signal('the commit');
    handlers.steps.set(id, () => commit.wait());
    const duplicates = duplicatesOf(id);
    let retries = 0;
    app.events.on('inbox.retry', (event) => (retries += event.messageKey === id ? 1 : 0));
    await publishCopies(id, 3);
    await twoWait();
    expect(duplicates()).toBe(0);
    commit.fire();
    await waitFor(() => duplicates() === 2);
    expect(retries).toBe(0);
    expect(await effectsOf(app.dataSource, id)).toEqual(['attempt 1']);
  });

  it('that deadlock in their own statements are tried again at once, and spend no attempt', async () => {
    const [one, two] = [randomUUID(), randomUUID()];
    const holdsLeft = signal('left is locked');
    const holdsRight = signal('right is locked');
    const take = (sku: string) =>
      app.dataSource.manager.query(`UPDATE stock SET amount = amount + 1 WHERE sku = '${sku}'`);
    handlers.steps.set(one, async () => {
      await take('left');
      holdsLeft.fire();
      await holdsRight.wait();
      await take('right');
    });
    handlers.steps.set(two, async () => {
      await take('right');
      holdsRight.fire();
      await holdsLeft.wait();
      await take('left');
    });
    let retries = 0;
    app.events.on('inbox.retry', () => (retries += 1));
    const done = Promise.all([handled(one), handled(two)]);
    await broker.publish('payment', {}, { messageId: one });
    await broker.publish('payment', {}, { messageId: two });
    await done;
    expect((handlers.attempts.get(one) ?? 0) + (handlers.attempts.get(two) ?? 0)).toBeGreaterThanOrEqual(3);
    expect(retries).toBe(0);
    expect(await app.dataSource.query('SELECT amount FROM stock')).toEqual([{ amount: 2 }, { amount: 2 }]);
    for (const id of [one, two]) expect(await effectsOf(app.dataSource, id)).toHaveLength(1);
  });

  it('of keys that differ in case or accent alone are different messages', async () => {
    const keys = ['order-a', 'ORDER-A', 'order-á', 'order-a '];
    const done = Promise.all(keys.map(handled));
    for (const key of keys) await broker.publish('payment', {}, { messageId: key });
    await done;
    for (const key of keys) expect(await effectsOf(app.dataSource, key)).toHaveLength(1);
  });

  it('to two handlers of one queue have one effect, whichever gets them', async () => {
    const ids = Array.from({ length: 8 }, () => randomUUID());
    const done = Promise.all(ids.map(handled));
    const counts = ids.map(duplicatesOf);
    for (const id of ids) {
      for (const key of ['shared.a', 'shared.b', 'shared.a'])
        await broker.publish(key, {}, { messageId: id });
    }
    await done;
    await waitFor(() => counts.every((count) => count() === 2));
    for (const id of ids) expect(await effectsOf(app.dataSource, id)).toEqual(['attempt 1']);
  });

  it('do not wait for ever, and spend no attempt by it', async () => {
    await app.close();
    await start(1_000);
    const id = randomUUID();
    const commit: Signal = signal('the commit');
    handlers.steps.set(id, () => commit.wait(20_000));
    const retry = app.events.next('inbox.retry', (event) => event.messageKey === id);
    const duplicates = duplicatesOf(id);
    await publishCopies(id, 2);
    expect(await retry).toMatchObject({
      attempts: 0,
      retryInMs: 100,
      error: expect.stringContaining('still being handled'),
    });
    commit.fire();
    await waitFor(() => duplicates() === 1);
    expect(await effectsOf(app.dataSource, id)).toEqual(['attempt 1']);
  });
});
