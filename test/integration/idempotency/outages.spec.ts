import { AmqpConnection, RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { type ConsumeMessage } from 'amqplib';
import { randomUUID } from 'node:crypto';
import { DataSource } from 'typeorm';
import { Idempotent } from '../../../lib/decorators/idempotent.decorator';
import { type RabbitMqServer, startRabbitMq } from '../../support/rabbitmq-server';
import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { signal } from '../../support/signal';
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy';
import { waitFor } from '../../support/wait-for';
import { type ConsumerApp, startConsumerApp } from './consumer-app';
import { addEffect, createEffects, effectsOf } from './effects';
import { TestBroker } from './test-broker';

const steps = new Map<string, (attempt: number) => unknown>();
const attempts = new Map<string, number>();

@Injectable()
class Handlers {
  constructor(private readonly dataSource: DataSource) {}

  @RabbitSubscribe({ exchange: 'shop', routingKey: 'stormy', queue: 'stormy' })
  @Idempotent()
  async onMessage(_payload: unknown, message: ConsumeMessage): Promise<void> {
    const id = String(message.properties.messageId);
    const attempt = (attempts.get(id) ?? 0) + 1;
    attempts.set(id, attempt);
    await addEffect(this.dataSource, id, `attempt ${attempt}`);
    await steps.get(id)?.(attempt);
  }
}

const handled = ({ events }: ConsumerApp, id: string) =>
  events.next('inbox.handled', (event) => event.messageKey === id);
const duplicate = ({ events }: ConsumerApp, id: string) =>
  events.next('inbox.duplicate', (event) => event.messageKey === id);

describe.each(['postgres', 'mysql'] as const)('a database that is away: %s', (type) => {
  let database: TestDatabase;
  let proxy: TcpProxy;
  let broker: TestBroker;
  let app: ConsumerApp;
  let direct: DataSource;

  beforeAll(async () => {
    database = await createTestDatabase(type);
    proxy = await startTcpProxy({ target: database.url });
    const { url } = await createVhost();
    broker = await TestBroker.connect(url);
    app = await startConsumerApp({
      database: { type, url: proxy.url(database.url) },
      brokerUrl: url,
      providers: [Handlers],
    });
    direct = await new DataSource({ type, url: database.url }).initialize();
    await createEffects(direct);
  });

  afterAll(async () => {
    await app?.close();
    await direct?.destroy();
    await broker?.close();
    proxy?.close();
    await database?.drop();
  });

  const breakDown = () => {
    proxy.refuse();
    proxy.cut();
  };

  it('spends no attempts, however often it is asked, and the message waits in its place', async () => {
    const id = randomUUID();
    const retries: { attempts: number; retryInMs: number }[] = [];
    app.events.on('inbox.retry', (event) => retries.push(event));
    breakDown();
    await broker.publish('stormy', {}, { messageId: id });
    // More often than there are attempts, at growing distances.
    await waitFor(() => retries.length === 2);
    expect(retries.map(({ attempts: spent }) => spent)).toEqual([0, 0]);
    expect(retries.map(({ retryInMs }) => retryInMs)).toEqual([1_000, 2_000]);
    expect(await broker.count('stormy.retry.100')).toBe(0);
    const done = handled(app, id);
    await proxy.accept();
    await done;
    expect(await effectsOf(direct, id)).toHaveLength(1);
  });

  it('spends no attempts, when it goes in the middle of a handler', async () => {
    const id = randomUUID();
    steps.set(id, (attempt) => {
      if (attempt > 1) return;
      breakDown();
      throw new Error('What a handler makes of a lost connection');
    });
    const retry = app.events.next('inbox.retry', (event) => event.messageKey === id);
    await broker.publish('stormy', {}, { messageId: id });
    expect(await retry).toMatchObject({ attempts: 0 });
    const done = handled(app, id);
    await proxy.accept();
    await done;
    expect(await effectsOf(direct, id)).toEqual(['attempt 2']);
  });
});

describe('a broker that goes away', () => {
  let database: TestDatabase;
  let proxy: TcpProxy;
  let broker: TestBroker;
  let app: ConsumerApp;

  beforeAll(async () => {
    database = await createTestDatabase('postgres');
    const { url } = await createVhost();
    proxy = await startTcpProxy({ target: url });
    broker = await TestBroker.connect(url);
    // It is away when the application starts, too.
    proxy.refuse();
    const installed = signal('the handlers to be installed');
    const starting = startConsumerApp({
      database,
      brokerUrl: proxy.url(url),
      providers: [Handlers],
      rabbit: { connectionInitOptions: { wait: false } },
      onInstalled: () => {
        installed.fire();
      },
    });
    await installed.wait();
    // golevelup binds the handlers, and lets the application start, when the broker is there.
    await proxy.accept();
    app = await starting;
    await createEffects(app.dataSource);
  });

  afterAll(async () => {
    await app?.close();
    await broker?.close();
    proxy?.close();
    await database?.drop();
  });

  it('at the start: its queues are declared when they are needed', async () => {
    const id = randomUUID();
    steps.set(id, () => {
      throw new Error('Never');
    });
    const alarm = app.events.next('inbox.deadLetter');
    await broker.publish('stormy', {}, { messageId: id });
    expect(await alarm).toMatchObject({ messageKey: id, attempts: 3 });
    expect((await broker.take('stormy.dead')).properties.messageId).toBe(id);
  });

  it('between the copy for the retry and the acknowledgement: both come, and one takes effect', async () => {
    const id = randomUUID();
    steps.set(id, (attempt) => {
      if (attempt === 1) throw new Error('The first time');
    });
    const cut = app.events.next('inbox.retry').then(() => true);
    const stop = app.events.on('inbox.retry', () => {
      proxy.cut();
    });
    const [done, again] = [handled(app, id), duplicate(app, id)];
    await broker.publish('stormy', {}, { messageId: id });
    expect(await cut).toBe(true);
    stop();
    await Promise.all([done, again]);
    expect(await effectsOf(app.dataSource, id)).toEqual(['attempt 2']);
  });

  it('before the acknowledgement of what is committed: it is no failure', async () => {
    const id = randomUUID();
    let retries = 0;
    const stop = app.events.on('inbox.retry', () => (retries += 1));
    const connection = app.context.get(AmqpConnection);
    steps.set(id, async () => {
      proxy.cut();
      await waitFor(() => !connection.connected, { intervalMs: 1 });
    });
    const again = duplicate(app, id);
    await broker.publish('stormy', {}, { messageId: id });
    await again;
    stop();
    expect(retries).toBe(0);
    expect(await broker.count('stormy.retry.100')).toBe(0);
    expect(await effectsOf(app.dataSource, id)).toEqual(['attempt 1']);
  });
});

describe('a broker that runs out of memory', () => {
  let database: TestDatabase;
  let server: RabbitMqServer;
  let broker: TestBroker;
  let app: ConsumerApp;

  beforeAll(async () => {
    [database, server] = await Promise.all([createTestDatabase('postgres'), startRabbitMq()]);
    broker = await TestBroker.connect(server.url);
    app = await startConsumerApp({ database, brokerUrl: server.url, providers: [Handlers] });
    await createEffects(app.dataSource);
  }, 60_000);

  afterAll(async () => {
    await server?.clearAlarm();
    await app?.close();
    await broker?.close();
    await server?.stop();
    await database?.drop();
  }, 60_000);

  it('takes acknowledgements while it takes no copies, and the failed message is not lost', async () => {
    const [bad, good] = [randomUUID(), randomUUID()];
    const [failNow, endNow] = [signal('the failure'), signal('the end')];
    steps.set(bad, async (attempt) => {
      await failNow.wait(20_000);
      if (attempt === 1) throw new Error('Now of all times');
    });
    steps.set(good, () => endNow.wait(20_000));
    await broker.publish('stormy', {}, { messageId: bad });
    await broker.publish('stormy', {}, { messageId: good });
    await waitFor(() => attempts.get(good) === 1 && attempts.get(bad) === 1);
    const held = async () =>
      (await server.listQueues()).find(({ name }) => name === 'stormy')?.messagesUnacknowledged ?? -1;
    await server.raiseAlarm();
    let retried = false;
    const retry = app.events.next('inbox.retry').then(() => (retried = true));
    failNow.fire();
    // The broker has stopped to read from whoever tried to publish the copy.
    await waitFor(async () => (await server.ctl('list_connections', 'state')).includes('blocked'), {
      timeoutMs: 20_000,
      what: 'a blocked connection',
    });
    endNow.fire();
    await waitFor(async () => (await held()) === 1, { what: 'the good message to be acknowledged' });
    expect(retried).toBe(false);
    const done = handled(app, bad);
    await server.clearAlarm();
    await retry;
    await done;
    expect(await effectsOf(app.dataSource, bad)).toEqual(['attempt 2']);
    await waitFor(async () => (await held()) === 0);
  }, 60_000);
});
