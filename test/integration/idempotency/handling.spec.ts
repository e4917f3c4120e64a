import { AmqpConnection, RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { type DataSource, DataSource as DataSourceToken } from 'typeorm';
import { Idempotent } from '../../../lib/decorators/idempotent.decorator';
import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { signal } from '../../support/signal';
import { waitFor } from '../../support/wait-for';
import { type ConsumerApp, startConsumerApp } from './consumer-app';
import { addEffect, createEffects, effectsOf, inboxKeys } from './effects';
import { TestBroker } from './test-broker';

@Injectable()
class CartHandlers {
  readonly calls: string[] = [];
  readonly meanwhile = new Map<string, () => Promise<void>>();
  constructor(readonly dataSource: DataSourceToken) {}

  @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'cart.order-placed' })
  @Idempotent()
  async onOrderPlaced(event: { id: string }): Promise<void> {
    this.calls.push(event.id);
    await addEffect(this.dataSource, event.id);
    await this.meanwhile.get(event.id)?.();
  }
}

describe.each(['postgres', 'mysql'] as const)('handling on %s', (type) => {
  let database: TestDatabase;
  let broker: TestBroker;
  let brokerUrl: string;
  let app: ConsumerApp;
  let dataSource: DataSource;

  beforeAll(async () => {
    database = await createTestDatabase(type);
    brokerUrl = (await createVhost()).url;
    broker = await TestBroker.connect(brokerUrl);
    app = await startConsumerApp({ database, brokerUrl, providers: [CartHandlers] });
    dataSource = app.dataSource;
    await createEffects(dataSource);
  });

  afterAll(async () => {
    await app.close();
    await broker.close();
    await database.drop();
  });

  it('commits the effect with the inbox row', async () => {
    const id = randomUUID();
    const handled = app.events.next('inbox.handled', (event) => event.messageKey === id);
    await broker.publish('order.placed', { id }, { messageId: id });
    await handled;
    expect(await effectsOf(dataSource, id)).toEqual(['']);
    expect(await inboxKeys(dataSource, 'cart.order-placed')).toContain(id);
  });

  it('acknowledges a duplicate, and tells of it', async () => {
    const id = randomUUID();
    const handled = app.events.next('inbox.handled', (event) => event.messageKey === id);
    await broker.publish('order.placed', { id }, { messageId: id });
    await handled;
    const duplicate = app.events.next('inbox.duplicate', (event) => event.messageKey === id);
    await broker.publish('order.placed', { id }, { messageId: id });
    await duplicate;
    expect(await effectsOf(dataSource, id)).toEqual(['']);
    expect(app.context.get(CartHandlers).calls.filter((call) => call === id)).toHaveLength(1);
    await waitFor(async () => (await broker.count('cart.order-placed')) === 0);
  });

  it('ends what runs when the application shuts down, and takes nothing more', async () => {
    const [running, next] = [randomUUID(), randomUUID()];
    const began = signal('the handler');
    const end = signal('its end');
    app.context.get(CartHandlers).meanwhile.set(running, () => {
      began.fire();
      return end.wait();
    });
    await broker.publish('order.placed', { id: running }, { messageId: running });
    await began.wait();
    const connection = app.context.get(AmqpConnection);
    const cancelled = jest.spyOn(connection, 'cancelConsumer');
    const closed = app.close();
    await waitFor(() => cancelled.mock.results.length > 0);
    await cancelled.mock.results[0]?.value;
    await broker.publish('order.placed', { id: next }, { messageId: next });
    end.fire();
    await closed;
    expect(await broker.count('cart.order-placed')).toBe(1);

    app = await startConsumerApp({ database, brokerUrl, providers: [CartHandlers] });
    dataSource = app.dataSource;
    await waitFor(async () => (await effectsOf(dataSource, next)).length === 1);
    expect(await effectsOf(dataSource, running)).toHaveLength(1);
    expect(app.context.get(CartHandlers).calls).toEqual([next]);
  });
});
