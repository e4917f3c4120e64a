import { connect } from 'amqplib';
import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';
import { DataSource } from 'typeorm';
import type { Transport } from '../../../lib/core/transport.port';
import { Outcomes, claimedMessage, transportContext } from '../../contracts/transport.fixtures';
import { type RabbitMqServer, startRabbitMq } from '../../support/rabbitmq-server';
import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import type { OrderedConsumerNews, OrderedConsumerTerms } from './child/ordered-consumer';

class Consumer {
  readonly news: OrderedConsumerNews[] = [];
  private readonly exited: Promise<unknown>;

  private constructor(private readonly child: ChildProcess) {
    child.on('message', (news: OrderedConsumerNews) => this.news.push(news));
    this.exited = once(child, 'exit');
  }

  static async start(terms: OrderedConsumerTerms): Promise<Consumer> {
    const child = fork(join(__dirname, 'child', 'ordered-consumer.ts'), [JSON.stringify(terms)], {
      execArgv: ['--require', join(__dirname, '../../support/typescript.cjs')],
    });
    const consumer = new Consumer(child);
    await waitFor(() => consumer.count('ready') === 1, { timeoutMs: 25_000, what: 'the child to be ready' });
    return consumer;
  }

  count(kind: OrderedConsumerNews['kind']): number {
    return this.news.filter((news) => news.kind === kind).length;
  }

  get handledAtOnceMax(): number {
    return Math.max(0, ...this.news.map((news) => (news.kind === 'handled' ? news.atOnce : 0)));
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  /** An orderly end, as at a deployment. */
  async close(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.send('close');
    await this.exited;
  }
}

/** A broker that may be killed, and that has the plugin for x-consistent-hash; one for all tests, each in a virtual host. */
let server: RabbitMqServer;
beforeAll(async () => {
  server = await startRabbitMq({ plugins: ['rabbitmq_consistent_hash_exchange'] });
}, 90_000);
afterAll(() => server?.stop());

describe.each([
  ['postgres', 'classic'],
  ['mysql', 'quorum'],
] as const)('a queue in partitions, on %s and %s queues', (type, queueType) => {
  let database: TestDatabase;
  let dataSource: DataSource;
  let brokerUrl: string;
  let transport: Transport;
  let outcomes: Outcomes;
  let consumers: Consumer[];
  let spread: OrderedConsumerTerms['spread'];

  beforeEach(async () => {
    database = await createTestDatabase(type);
    dataSource = await new DataSource({ type, url: database.url }).initialize();
    const position = type === 'postgres' ? 'bigserial' : 'bigint AUTO_INCREMENT';
    await dataSource.query(
      `CREATE TABLE ordered_effect (position ${position} PRIMARY KEY, message_key varchar(50), message_number int)`,
    );
    brokerUrl = (await createVhost()).url;
    consumers = [];
    spread = 'slots';
  });

  afterEach(async () => {
    await Promise.all(consumers.map((consumer) => consumer.close()));
    await transport.stop();
    await dataSource.destroy();
    await database.drop();
  });

  const startSender = async (partitions: number) => {
    const queue = {
      name: 'cart.orders',
      partitions,
      bind: 'order.*',
      spread,
      arguments: { 'x-queue-type': queueType },
    };
    const definition = rabbitMq({
      exchange: 'shop',
      uri: brokerUrl,
      declareExchange: true,
      orderedQueues: [queue],
    });
    transport = await definition.create(transportContext());
    await transport.start();
    await waitFor(() => transport.probe());
    outcomes = new Outcomes(transport);
  };

  const startConsumer = async (
    terms: Pick<OrderedConsumerTerms, 'partitions' | 'failures' | 'retryDelayMs'>,
  ) => {
    const consumer = await Consumer.start({
      type,
      databaseUrl: database.url,
      brokerUrl,
      queueType,
      spread,
      ...terms,
    });
    consumers.push(consumer);
    return consumer;
  };

  /** Sends the messages of these numbers, key after key, so that those of a key are next to each other. */
  const send = async (keys: readonly string[], numbers: readonly number[]) => {
    const messages = keys.flatMap((key) =>
      numbers.map((number) =>
        claimedMessage({ type: 'order.placed', key, payload: Buffer.from(JSON.stringify({ key, number })) }),
      ),
    );
    await outcomes.sendAndSettle(messages);
    expect(new Set(messages.map((message) => outcomes.of(message).kind))).toEqual(new Set(['confirmed']));
  };

  /** The numbers of each key's effects, in the order in which they were written. */
  const effects = async () => {
    const rows: { message_key: string; message_number: number }[] = await dataSource.query(
      'SELECT message_key, message_number FROM ordered_effect ORDER BY position',
    );
    const byKey = new Map<string, number[]>();
    for (const { message_key: key, message_number: number } of rows) {
      byKey.set(key, [...(byKey.get(key) ?? []), number]);
    }
    return { count: rows.length, byKey };
  };

  /** As soon as there are so many. A consumer tells of a message before its commit. */
  const effectsOf = (count: number, timeoutMs?: number) =>
    waitFor(
      async () => {
        const found = await effects();
        return found.count >= count && found;
      },
      { timeoutMs, what: `${count} effects` },
    );

  const keepsOrderThroughDeaths = async () => {
    const terms = { partitions: 4, failures: 2, retryDelayMs: 5 };
    const keys = Array.from({ length: 40 }, (_, index) => `order-${index}`);
    const numbers = Array.from({ length: 12 }, (_, index) => index + 1);
    // Before any consumer has ever started: nothing is lost, because the sender has declared the queues.
    await startSender(terms.partitions);
    await send(keys, numbers.slice(0, 1));
    const first = await startConsumer(terms);
    const second = await startConsumer(terms);
    const third = await startConsumer(terms);
    await send(keys, numbers.slice(1));
    await waitFor(() => first.count('handled') >= 100, { timeoutMs: 30_000 });
    await first.kill();
    await waitFor(() => second.count('handled') >= 60, { timeoutMs: 30_000 });
    await second.close();
    const { byKey } = await effectsOf(keys.length * numbers.length, 60_000);
    expect(Object.fromEntries(byKey)).toEqual(Object.fromEntries(keys.map((key) => [key, numbers])));
    // Different keys side by side, in one instance after the other.
    expect(third.count('handled')).toBeGreaterThan(0);
    expect(Math.max(...consumers.map((consumer) => consumer.handledAtOnceMax))).toBeGreaterThan(1);
    expect(first.count('retry') + second.count('retry') + third.count('retry')).toBeGreaterThan(0);
  };

  it(
    'keeps each key in order, once, while messages fail, and consumers are killed and replaced',
    keepsOrderThroughDeaths,
    150_000,
  );

  it('does so behind an x-consistent-hash exchange, too', async () => {
    brokerUrl = await server.createVhost(randomUUID());
    spread = 'consistentHash';
    await keepsOrderThroughDeaths();
  }, 150_000);

  it('hands a message that waits for its retry over before the later ones, when the instance stops', async () => {
    await startSender(1);
    await send(['k'], [1, 2, 3, 4]);
    const first = await startConsumer({ partitions: 1, failures: 1, retryDelayMs: 600_000 });
    const second = await startConsumer({ partitions: 1, failures: 0, retryDelayMs: 5 });
    await waitFor(() => first.count('retry') === 1);
    await send(['k'], [5, 6, 7]);
    await first.close();
    const { byKey } = await effectsOf(7);
    expect(byKey.get('k')).toEqual([1, 2, 3, 4, 5, 6, 7]);
    await waitFor(() => second.count('handled') >= 4);
    expect(second.count('handled')).toBe(4);
  }, 90_000);

  it('keeps each key in order when the broker is killed and comes back', async () => {
    brokerUrl = await server.createVhost(randomUUID());
    const terms = { partitions: 4, failures: 1, retryDelayMs: 5 };
    const keys = Array.from({ length: 20 }, (_, index) => `order-${index}`);
    await startSender(terms.partitions);
    const first = await startConsumer(terms);
    const second = await startConsumer(terms);
    await server.syncTopology();
    await send(keys, [1, 2, 3, 4, 5, 6]);
    await waitFor(() => first.count('handled') + second.count('handled') >= 40, { timeoutMs: 30_000 });
    await server.kill();
    await server.restart();
    await waitFor(() => transport.probe(), { timeoutMs: 20_000 });
    await send(keys, [7, 8]);
    const { byKey } = await effectsOf(160, 40_000);
    for (const key of keys) expect([key, byKey.get(key)]).toEqual([key, [1, 2, 3, 4, 5, 6, 7, 8]]);
  }, 120_000);

  it('goes on after a message that is given up, and takes it back when a person publishes it again', async () => {
    await startSender(2);
    const consumer = await startConsumer({ partitions: 2, failures: 3, retryDelayMs: 5 });
    await send(['k'], [4, 5]);
    await waitFor(() => consumer.count('handled') === 1);
    const connection = await connect(brokerUrl);
    const channel = await connection.createConfirmChannel();
    const dead = await waitFor(() => channel.get('cart.orders.dead', { noAck: true }));
    channel.publish('cart.orders', '', dead.content, dead.properties);
    await channel.waitForConfirms();
    await connection.close();
    const { byKey } = await effectsOf(2);
    expect(byKey.get('k')).toEqual([5, 4]);
  }, 60_000);
});
