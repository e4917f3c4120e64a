import { rabbitMq } from 'nestjs-outbox/rabbitmq';
import { RABBITMQ_DEFAULTS, resolveRabbitMqOptions } from '../../../lib/transports/rabbitmq/rabbitmq.options';
import { displayAddress, redact } from '../../../lib/transports/rabbitmq/redact';
import { transportContext } from '../../contracts/transport.fixtures';

const ORDERED = { name: 'cart.orders', partitions: 8, bind: 'order.placed' };

describe('rabbitMq() options', () => {
  it.each<[string, object]>([
    ['rabbitMq.exchange', { exchange: '' }],
    ['rabbitMq.exchange', { exchange: 'a/b' }],
    ['rabbitMq.exchange', {}],
    ['rabbitMq.sendTimeout', { exchange: 'shop', sendTimeout: 1 }],
    ['rabbitMq.uri', { exchange: 'shop', uri: 'http://u:secret@host' }],
    ['rabbitMq.uri', { exchange: 'shop', uri: [] }],
    ['rabbitMq.uri[1]', { exchange: 'shop', uri: ['amqp://host', 'secret'] }],
    ['rabbitMq.connectionName', { exchange: 'shop', uri: 'amqp://host', connectionName: 'a' }],
    ['rabbitMq.socketOptions', { exchange: 'shop', socketOptions: {} }],
    ['rabbitMq.exchangeType', { exchange: 'shop', exchangeType: 'topic' }],
    ['rabbitMq.unroutable', { exchange: 'shop', unroutable: 'drop' }],
    ['rabbitMq.unroutable.a', { exchange: 'shop', unroutable: { a: 'drop' } }],
    ['rabbitMq.sendTimeoutMs', { exchange: 'shop', sendTimeoutMs: 0 }],
    ['rabbitMq.inFlightMax', { exchange: 'shop', inFlightMax: 1.5 }],
    ['rabbitMq.heartbeatSeconds', { exchange: 'shop', heartbeatSeconds: 0 }],
    ['rabbitMq.orderedQueues[0].name', { exchange: 'shop', orderedQueues: [{ partitions: 2, bind: 'a' }] }],
    [
      'rabbitMq.orderedQueues[0].partitions',
      { exchange: 'shop', orderedQueues: [{ ...ORDERED, partitions: 65 }] },
    ],
    ['rabbitMq.orderedQueues[0].bind', { exchange: 'shop', orderedQueues: [{ ...ORDERED, bind: [] }] }],
    [
      'rabbitMq.orderedQueues[0].spread',
      { exchange: 'shop', orderedQueues: [{ ...ORDERED, spread: 'random' }] },
    ],
  ])('refuses %s by name, and quotes no address: %j', (option, options) => {
    const attempt = () => rabbitMq(options as never);
    expect(attempt).toThrow(expect.objectContaining({ code: 'OUTBOX_CONFIGURATION', option }));
    expect(attempt).not.toThrow(/secret/);
  });

  it('has the documented defaults', () => {
    expect(resolveRabbitMqOptions({ exchange: 'shop' })).toMatchObject({
      uris: null,
      connectionName: undefined,
      declareExchange: undefined,
      exchangeType: 'topic',
      orderedQueues: [],
      sendTimeoutMs: 10_000,
      inFlightMax: 2_000,
      connectTimeoutMs: 10_000,
      reconnectDelayMaxMs: 5_000,
      socketOptions: {},
    });
    expect(resolveRabbitMqOptions({ exchange: 'shop' }).unroutable('a')).toBe('retry');
    expect(RABBITMQ_DEFAULTS.heartbeatSeconds).toBe(10);
  });

  it('binds an ordered queue to its own exchange, and spreads by slots, where nothing else is said', () => {
    const { orderedQueues } = resolveRabbitMqOptions({ exchange: 'shop', orderedQueues: [ORDERED] });
    expect(orderedQueues).toEqual([
      {
        name: 'cart.orders',
        partitions: 8,
        spread: 'slots',
        bindings: [{ exchange: 'shop', routingKey: 'order.placed' }],
        arguments: {},
      },
    ]);
  });

  it('needs an address', () => {
    expect(() => rabbitMq({ exchange: 'shop' }).create(transportContext())).toThrow(
      expect.objectContaining({ option: 'rabbitMq.uri' }),
    );
    expect(() => rabbitMq({ exchange: 'shop', connectionName: 'b' }).create(transportContext())).toThrow(
      expect.objectContaining({ option: 'rabbitMq.connectionName' }),
    );
  });
});

describe('rabbitMq() destinations', () => {
  const definition = rabbitMq({ exchange: 'shop' });

  it('takes the default exchange, an exchange, and an exchange with a routing key', () => {
    expect(definition.destinationOf('a', undefined)).toBe('shop');
    expect(definition.destinationOf('a', 'other')).toBe('other');
    expect(definition.destinationOf('a', 'other/a/b.c')).toBe('other/a/b.c');
    expect(definition.destinationOf('a', '/queue')).toBe('/queue');
  });

  it('keeps order within an exchange', () => {
    expect(definition.orderScopeOf('shop')).toBe('shop');
    expect(definition.orderScopeOf('shop/a/b')).toBe('shop');
    expect(definition.orderScopeOf('/queue')).toBe('');
  });

  it.each([
    ['/', 'a'],
    [`shop/${'ä'.repeat(128)}`, 'a'],
    ['e'.repeat(256), 'a'],
    ['shop', 't'.repeat(256)],
  ])('refuses %p for the type %p', (destination, type) => {
    expect(() => definition.destinationOf(type, destination)).toThrow(
      expect.objectContaining({ code: 'OUTBOX_INVALID_MESSAGE', property: 'destination' }),
    );
  });
});

describe('Addresses in texts', () => {
  it('shows host and virtual host alone', () => {
    expect(displayAddress('amqp://ann:s3cret@host:5672/shop?heartbeat=5')).toBe('host:5672/shop');
    expect(displayAddress({ hostname: 'host', username: 'ann', password: 's3cret' })).toBe('host:5672/%2F');
    expect(displayAddress('s3cret')).not.toContain('s3cret');
  });

  it('takes passwords out, however they are written', () => {
    const text = 'amqp://ann:s3%2Fcret@host failed for s3/cret and s3%2Fcret';
    expect(redact(text, ['amqp://ann:s3%2Fcret@host'])).toBe('amqp://ann:***@host failed for *** and ***');
    expect(redact('amqp://ann:other@host', [])).toBe('amqp://ann:***@host');
    expect(redact('s3cret', [{ username: 'ann', password: 's3cret' }])).toBe('***');
    expect(redact("user 'guest'", ['amqp://guest:guest@host'])).toBe("user 'guest'");
  });
});
