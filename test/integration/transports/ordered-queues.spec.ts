import { Logger } from '@nestjs/common';
import type { OrderedQueueOptions } from 'nestjs-outbox/rabbitmq';
import type { Transport } from '../../../lib/core/transport.port';
import { Outcomes, claimedMessage } from '../../contracts/transport.fixtures';
import { type RabbitMqServer, startRabbitMq } from '../../support/rabbitmq-server';
import { createVhost } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { Observer, startedTransport } from './rabbitmq.fixtures';

const PARTITIONS = 12;
const KEYS = Array.from({ length: 200 }, (_, index) => `order-${index}`);

describe('RabbitMQ: queues in partitions, declared by the transport', () => {
  let server: RabbitMqServer;
  let observer: Observer;
  const transports: Transport[] = [];
  const errors: string[] = [];

  beforeAll(async () => {
    Logger.overrideLogger({
      error: (text: string) => errors.push(text),
      warn: () => undefined,
      log: () => undefined,
    });
    server = await startRabbitMq({ plugins: ['rabbitmq_consistent_hash_exchange'] });
    observer = await Observer.at(server.url);
  }, 90_000);

  beforeEach(() => {
    errors.length = 0;
  });

  afterEach(async () => {
    for (const transport of transports.splice(0)) await transport.stop();
  });

  afterAll(async () => {
    await observer?.close();
    await server?.stop();
    Logger.overrideLogger(new Logger());
  });

  const start = async (queue: OrderedQueueOptions, uri = server.url) => {
    const options = { exchange: 'shop', uri, declareExchange: true, reconnectDelayMaxMs: 100 };
    const transport = await startedTransport({ ...options, orderedQueues: [queue] });
    transports.push(transport);
    await waitFor(() => transport.probe());
    return new Outcomes(transport);
  };

  /** Takes all that is there. @returns the partition of each message, by key or id. */
  const partitions = async (name: string, count: number) => {
    const found = new Map<string, number>();
    for (let index = 0; index < count; index += 1) {
      for (;;) {
        const message = await observer.channel.get(`${name}.${index}`, { noAck: true });
        if (message === false) break;
        const { headers, messageId } = message.properties;
        found.set(String(headers?.['x-outbox-key'] ?? messageId), index);
      }
    }
    return found;
  };

  it('gives a key to the same partition before and after the broker was killed', async () => {
    const outcomes = await start({ name: 'orders', partitions: PARTITIONS, bind: 'order.*' });
    const messages = () => KEYS.map((key) => claimedMessage({ key }));
    await outcomes.sendAndSettle(messages());
    const before = await partitions('orders', PARTITIONS);
    expect(before.size).toBe(KEYS.length);
    expect(new Set(before.values()).size).toBe(PARTITIONS);

    await server.syncTopology();
    await server.kill();
    await server.restart();
    observer = await Observer.at(server.url);
    await waitFor(() => transports[0]?.probe());
    await outcomes.sendAndSettle(messages());
    expect(await partitions('orders', PARTITIONS)).toEqual(before);
    expect(errors).toEqual([]);
  }, 60_000);

  it('spreads what has no key, and loses nothing that no outbox has sent', async () => {
    const outcomes = await start({ name: 'spread', partitions: 4, bind: ['order.placed', 'order.paid'] });
    await outcomes.sendAndSettle(Array.from({ length: 100 }, () => claimedMessage()));
    const keyless = await partitions('spread', 4);
    expect(keyless.size).toBe(100);
    expect(new Set(keyless.values()).size).toBe(4);

    observer.channel.publish('shop', 'order.paid', Buffer.from('{}'), { messageId: 'foreign' });
    await waitFor(async () => (await partitions('spread', 4)).get('foreign') === 0);
  });

  it('refuses another number of partitions, by name, and sends on', async () => {
    await start({ name: 'counted', partitions: 4, bind: 'order.placed' });
    const outcomes = await start({ name: 'counted', partitions: 8, bind: 'order.placed' });
    expect(errors).toEqual([
      expect.stringMatching(
        /ordered queue counted: is there already, with another number of partitions than 8/,
      ),
    ]);
    const message = claimedMessage({ key: 'k' });
    await outcomes.sendAndSettle([message]);
    expect(outcomes.of(message).kind).toBe('confirmed');
    expect([...(await partitions('counted', 4)).keys()]).toEqual(['k']);

    // What the error says, and the README.
    await observer.channel.deleteExchange('counted');
    errors.length = 0;
    const after = await start({ name: 'counted', partitions: 8, bind: 'order.placed' });
    await after.sendAndSettle(KEYS.map((key) => claimedMessage({ key })));
    expect((await partitions('counted', 8)).size).toBe(KEYS.length);
    expect(errors).toEqual([]);
  });

  it('names an exchange that is not there, and sends on', async () => {
    const outcomes = await start({
      name: 'lonely',
      partitions: 2,
      bind: 'order.placed',
      exchange: 'elsewhere',
    });
    expect(errors).toEqual([expect.stringMatching(/ordered queue lonely: is bound to elsewhere/)]);
    const message = claimedMessage();
    await outcomes.sendAndSettle([message]);
    expect(outcomes.of(message).kind).toBe('confirmed');
  });

  it('spreads over an x-consistent-hash exchange where that is asked for', async () => {
    const queue = { name: 'hashed', partitions: 4, bind: 'order.placed', spread: 'consistentHash' } as const;
    const outcomes = await start(queue);
    const messages = () => KEYS.map((key) => claimedMessage({ key }));
    await outcomes.sendAndSettle(messages());
    const first = await partitions('hashed', 4);
    expect(new Set(first.values()).size).toBe(4);
    await outcomes.sendAndSettle(messages());
    expect(await partitions('hashed', 4)).toEqual(first);
    expect(errors).toEqual([]);
  });

  it('names the plugin that a broker lacks, and sends on', async () => {
    const { url } = await createVhost();
    const queue = { name: 'hashed', partitions: 4, bind: 'order.placed', spread: 'consistentHash' } as const;
    const outcomes = await start(queue, url);
    expect(errors).toEqual([
      expect.stringMatching(/rabbitmq-plugins enable rabbitmq_consistent_hash_exchange; or leave/),
    ]);
    const other = await Observer.at(url);
    await other.queue('shop', '#');
    const message = claimedMessage({ key: 'k' });
    await outcomes.sendAndSettle([message]);
    await other.close();
    expect(outcomes.of(message).kind).toBe('confirmed');
  });
});
