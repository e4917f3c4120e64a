import { Logger } from '@nestjs/common';
import type { Transport } from '../../../lib/core/transport.port';
import { createVhost } from '../../support/shared-servers';
import { slotOf } from '../../../lib/core/ordered-queue';
import { PATIENCE } from '../../support/patience';
import { waitFor } from '../../support/wait-for';
import { Outcomes, claimedMessage, claimedMessages } from '../../contracts/transport.fixtures';
import { Observer, idsOf, startedTransport } from './rabbitmq.fixtures';

describe('RabbitMQ: the outcome of a message', () => {
  let url: string;
  let observer: Observer;
  let transport: Transport;
  let outcomes: Outcomes;

  const start = async (options: object = {}) => {
    transport = await startedTransport({ exchange: 'shop', uri: url, declareExchange: true, ...options });
    outcomes = new Outcomes(transport);
  };

  beforeAll(() => {
    Logger.overrideLogger(false);
  });

  beforeEach(async () => {
    ({ url } = await createVhost());
    observer = await Observer.at(url);
  });

  afterEach(async () => {
    await transport.stop();
    await observer.close();
  });

  it('does not count a message as sent that no queue is bound for', async () => {
    await start();
    const message = claimedMessage();
    await outcomes.sendAndSettle([message]);
    expect(outcomes.of(message)).toMatchObject({
      kind: 'refused',
      retry: true,
      error: expect.stringMatching(/NO_ROUTE/),
    });
    await observer.queue('shop', 'order.*', 'late');
    const again = { ...message };
    const second = new Outcomes(transport);
    await second.sendAndSettle([again]);
    expect(second.of(again)).toEqual({ kind: 'confirmed' });
  });

  it('treats the unroutable by type', async () => {
    await start({ unroutable: { 'a.accepted': 'accept', 'a.dead': 'deadLetter', default: 'retry' } });
    const [accepted, dead, other] = ['a.accepted', 'a.dead', 'a.other'].map((type) =>
      claimedMessage({ type }),
    );
    await outcomes.sendAndSettle([accepted!, dead!, other!]);
    expect(outcomes.of(accepted!)).toEqual({ kind: 'confirmed' });
    expect(outcomes.of(dead!)).toMatchObject({ kind: 'refused', retry: false });
    expect(outcomes.of(other!)).toMatchObject({ kind: 'refused', retry: true });
  });

  it('refuses the messages of an exchange that is missing, and confirms 500 others around them, again and again', async () => {
    await start();
    const queue = await observer.queue('shop', '#');
    const arrived = await observer.collect(queue);
    for (let round = 0; round < 3; round += 1) {
      const good = claimedMessages(500);
      const [first, second] = claimedMessages(2, { destination: 'missing' });
      await outcomes.sendAndSettle([
        ...good.slice(0, 200),
        first!,
        ...good.slice(200, 400),
        second!,
        ...good.slice(400),
      ]);
      expect(outcomes.kinds(good)).toEqual(['confirmed']);
      for (const culprit of [first!, second!]) {
        expect(outcomes.of(culprit)).toMatchObject({
          kind: 'refused',
          retry: true,
          error: expect.stringMatching(/NOT_FOUND - no exchange 'missing'.*Declare the exchange/),
        });
      }
      await waitFor(() => good.every(({ id }) => idsOf(arrived).includes(id)));
      const ids = new Set(good.map(({ id }) => id));
      const firstCopies = [...new Set(idsOf(arrived).filter((id) => ids.has(id)))];
      expect(firstCopies).toEqual(good.map(({ id }) => id));
    }
  });

  it('finds the culprit where the broker does not name it', async () => {
    await start();
    const queue = await observer.queue('shop', '#');
    const arrived = await observer.collect(queue);
    await observer.channel.assertExchange('inner', 'topic', { internal: true });
    for (let round = 0; round < 3; round += 1) {
      const good = claimedMessages(500);
      const culprits = claimedMessages(2, { destination: 'inner' });
      const [first, second] = culprits;
      await outcomes.sendAndSettle([
        ...good.slice(0, 333),
        first!,
        ...good.slice(333, 340),
        second!,
        ...good.slice(340),
      ]);
      expect(outcomes.kinds(good)).toEqual(['confirmed']);
      for (const culprit of culprits) {
        expect(outcomes.of(culprit)).toMatchObject({
          kind: 'refused',
          retry: true,
          error: expect.stringMatching(/ACCESS_REFUSED/),
        });
      }
      const ids = new Set(good.map(({ id }) => id));
      await waitFor(() => good.every(({ id }) => idsOf(arrived).includes(id)));
      expect([...new Set(idsOf(arrived).filter((id) => ids.has(id)))]).toEqual(good.map(({ id }) => id));
    }
  });

  it('refuses what the broker nacks', async () => {
    await start();
    await observer.queue('shop', '#', 'full', {
      arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' },
    });
    const messages = claimedMessages(20);
    await outcomes.sendAndSettle(messages);
    const refused = messages.filter((message) => outcomes.of(message).kind === 'refused');
    expect(refused.length).toBeGreaterThan(0);
    expect(outcomes.of(refused[0]!)).toMatchObject({
      retry: true,
      error: expect.stringMatching(/basic.nack/),
    });
    const after = claimedMessage({ destination: 'shop/elsewhere' });
    await outcomes.sendAndSettle([after]);
    expect(outcomes.of(after).kind).toBe('refused');
  });

  it('sends the payload, the properties and the headers', async () => {
    await start();
    const queue = await observer.queue('shop', 'a.b.c');
    const arrived = await observer.collect(queue);
    const message = claimedMessage({
      destination: 'shop/a.b.c',
      payload: Buffer.from([0, 1, 2, 255]),
      contentType: 'application/octet-stream',
      contentEncoding: 'gzip',
      key: 'Bestellung-Ä',
      tenant: 'north',
      schemaVersion: 3,
      headers: { traceparent: '00-1-2-01', 'x-änder': 'grün' },
    });
    await outcomes.sendAndSettle([message]);
    await waitFor(() => arrived.length === 1);
    const [{ content, fields, properties }] = arrived as [(typeof arrived)[0]];
    expect(content).toEqual(message.payload);
    expect(fields).toMatchObject({ exchange: 'shop', routingKey: 'a.b.c' });
    expect(properties).toMatchObject({
      messageId: message.id,
      type: 'order.placed',
      appId: 'shop',
      contentType: 'application/octet-stream',
      contentEncoding: 'gzip',
      deliveryMode: 2,
      timestamp: message.createdAt.getTime() / 1_000,
    });
    expect(properties.headers).toEqual({
      traceparent: '00-1-2-01',
      'x-änder': 'grün',
      'x-outbox-key': 'Bestellung-Ä',
      'x-outbox-tenant': 'north',
      'x-outbox-schema-version': '3',
      'outbox-slot': slotOf('Bestellung-Ä'),
    });
  });

  it('gives up a message that AMQP cannot carry, and no other', async () => {
    await start();
    await observer.queue('shop', '#');
    const good = claimedMessages(10);
    const bad = [
      claimedMessage({ headers: { big: 'x'.repeat(70_000) } }),
      claimedMessage({ destination: `shop/${'r'.repeat(256)}` }),
      claimedMessage({ headers: { ['n'.repeat(300)]: 'x' } }),
      claimedMessage({ source: 's'.repeat(256) }),
    ];
    await outcomes.sendAndSettle([...good.slice(0, 5), ...bad, ...good.slice(5)]);
    expect(outcomes.kinds(good)).toEqual(['confirmed']);
    for (const message of bad) expect(outcomes.of(message)).toMatchObject({ kind: 'refused', retry: false });
  });

  it('carries messages of many megabytes beside small ones', async () => {
    await start();
    const queue = await observer.queue('shop', '#');
    const arrived = await observer.collect(queue);
    const messages = claimedMessages(30).map((message, index) => ({
      ...message,
      payload: index % 3 === 0 ? Buffer.alloc(2_000_000, String(index)) : Buffer.from(String(index)),
    }));
    await outcomes.sendAndSettle(messages);
    expect(outcomes.kinds(messages)).toEqual(['confirmed']);
    await waitFor(() => arrived.length === messages.length);
    expect(arrived.map(({ content }) => content.length)).toEqual(
      messages.map(({ payload }) => payload.length),
    );
  });

  it('confirms 20,000 messages, a thousand at a time', async () => {
    await start();
    await observer.queue('shop', '#', 'sink', { maxLength: 10 });
    const count = 20_000;
    const startedAt = performance.now();
    let confirmed = 0;
    await new Promise<void>((resolve, reject) => {
      let sent = 0;
      const next = () => {
        const size = Math.min(100, count - sent);
        if (size <= 0) return;
        sent += size;
        let open = size;
        transport.send(claimedMessages(size), (_message, outcome) => {
          if (outcome.kind !== 'confirmed') reject(new Error(JSON.stringify(outcome)));
          confirmed += 1;
          open -= 1;
          if (open === 0) next();
          if (confirmed === count) resolve();
        });
      };
      for (let slot = 0; slot < 10; slot += 1) next();
    });
    const perSecond = Math.round(count / ((performance.now() - startedAt) / 1_000));
    console.log(`RabbitMQ: ${perSecond} confirmed messages a second`);
    expect(perSecond).toBeGreaterThan(1_000 / PATIENCE);
  });

  it('shows no password, neither in logs nor in outcomes', async () => {
    const lines: string[] = [];
    const log = (...parts: unknown[]) => lines.push(parts.map(String).join(' '));
    Logger.overrideLogger({ log, warn: log, error: log, debug: log, verbose: log });
    const wrong = new URL(url);
    wrong.password = 's3cr/et%';
    await start({ uri: wrong.href });
    const message = claimedMessage();
    await outcomes.sendAndSettle([message]);
    await waitFor(() =>
      lines.some((line) => line.includes('ACCESS_REFUSED') || line.includes('Cannot connect')),
    );
    const text = JSON.stringify([lines, outcomes.all]);
    Logger.overrideLogger(false);
    expect(text).toMatch(/Cannot connect to RabbitMQ/);
    expect(text).not.toMatch(/s3cr/);
    expect(outcomes.of(message).kind).toBe('unreachable');
  });

  it('goes on where the exchange is there with other properties', async () => {
    await observer.channel.assertExchange('shop', 'fanout', { durable: false });
    const { queue } = await observer.channel.assertQueue('', { exclusive: true });
    await observer.channel.bindQueue(queue, 'shop', '');
    await start();
    const message = claimedMessage();
    await outcomes.sendAndSettle([message]);
    expect(outcomes.of(message)).toEqual({ kind: 'confirmed' });
  });
});
