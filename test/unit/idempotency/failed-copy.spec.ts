import { type ConsumeMessage } from 'amqplib';
import { copyOptions, tallyOf } from '../../../lib/idempotency/rabbitmq/failed-copy';

const message = (properties: object, fields: object = {}): ConsumeMessage =>
  ({
    content: Buffer.from('{}'),
    fields: { exchange: 'shop', routingKey: 'order.placed', ...fields },
    properties: { headers: undefined, ...properties },
  }) as ConsumeMessage;
const report = {
  error: new Error('Out of\nstock'),
  tally: { attempts: 2, waits: 1 },
  consumer: 'cart',
  queue: 'cart.orders',
  diedAtMs: null,
};

describe('the copy of a failed message', () => {
  it('keeps its properties and headers, and says why it is there', () => {
    const properties = {
      messageId: 'm',
      type: 't',
      appId: 'a',
      contentType: 'text/plain',
      contentEncoding: 'gzip',
      correlationId: 'c',
      replyTo: 'answers',
      timestamp: 5,
      priority: 0,
    };
    expect(copyOptions(message({ ...properties, headers: { tenant: 'x' } }), report)).toEqual({
      ...properties,
      persistent: true,
      headers: {
        tenant: 'x',
        'x-outbox-exchange': 'shop',
        'x-outbox-routing-key': 'order.placed',
        'x-outbox-consumer': 'cart',
        'x-outbox-queue': 'cart.orders',
        'x-outbox-attempts': 2,
        'x-outbox-waits': 1,
        'x-outbox-error': 'Out of stock',
      },
    });
  });

  it('remembers the first exchange and routing key, not those of the retry queue', () => {
    const headers = { 'x-outbox-exchange': 'shop', 'x-outbox-routing-key': 'order.placed' };
    const again = message({ headers }, { exchange: '', routingKey: 'cart.orders' });
    expect(copyOptions(again, report).headers).toMatchObject(headers);
  });

  it('carries nothing that the broker would obey or refuse', () => {
    const options = copyOptions(
      message({
        expiration: '1000',
        userId: 'somebody',
        replyTo: 'amq.rabbitmq.reply-to.xyz',
        headers: { CC: ['elsewhere'], 'x-death': [{}], 'x-outbox-copy': 'old' },
      }),
      report,
    );
    expect(Object.keys(options).sort()).toEqual(['headers', 'persistent']);
    expect(options.headers).toMatchObject({ 'x-outbox-user-id': 'somebody' });
    for (const name of ['CC', 'x-death', 'x-outbox-copy']) expect(options.headers).not.toHaveProperty(name);
  });

  it('says when it was given up, and the next report does not', () => {
    const dead = copyOptions(message({}), { ...report, diedAtMs: 0 });
    expect(dead.headers).toMatchObject({ 'x-outbox-died-at': '1970-01-01T00:00:00.000Z' });
    expect(copyOptions(message(dead), report).headers).not.toHaveProperty('x-outbox-died-at');
  });

  it.each([
    ['without headers', undefined, { attempts: 0, waits: 0 }],
    ['with both', { 'x-outbox-attempts': 2, 'x-outbox-waits': 3 }, { attempts: 2, waits: 3 }],
    ['with nonsense', { 'x-outbox-attempts': 'many', 'x-outbox-waits': -1 }, { attempts: 0, waits: 0 }],
    [
      'put back by a person',
      { 'x-outbox-attempts': 5, 'x-outbox-died-at': 'then' },
      { attempts: 0, waits: 0 },
    ],
  ])('counts on from a message %s', (_title, headers, expected) => {
    expect(tallyOf(message({ headers }))).toEqual(expected);
  });
});
