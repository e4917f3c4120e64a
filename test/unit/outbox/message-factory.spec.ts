import { InvalidMessageError } from '../../../lib/core/errors';
import type { TransportDefinition } from '../../../lib/core/transport.port';
import { jsonCodec } from '../../../lib/outbox/json-codec';
import { hashKey } from '../../../lib/outbox/key-hash';
import { MessageFactory } from '../../../lib/outbox/message-factory';
import type { PublishOptions } from '../../../lib/outbox/publish-options';

const transport: TransportDefinition = {
  kind: 'fake',
  destinationOf: (_type, requested) => requested ?? 'shop',
  orderScopeOf: (destination) => destination.split('/')[0] ?? destination,
  create: () => {
    throw new Error('not made in this test');
  },
};

const factory = new MessageFactory({
  transports: { default: transport, other: transport },
  defaultTransport: 'default',
  source: 'tests',
  payloadSizeMaxBytes: 100,
  codec: jsonCodec,
});

const make = async (options: PublishOptions = {}, payload: unknown = { a: 1 }, type = 'order.placed') =>
  factory.make(type, payload, options);

describe('MessageFactory', () => {
  it('fills in what the publisher left out', async () => {
    const message = await make();
    expect(message).toMatchObject({
      type: 'order.placed',
      transport: 'default',
      destination: 'shop',
      key: null,
      keyHash: null,
      tenant: null,
      source: 'tests',
      contentType: 'application/json',
      contentEncoding: null,
      schemaVersion: null,
      headers: {},
      delayMs: 0,
      expiresInMs: null,
    });
    expect(message.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    expect(message.payload.toString()).toBe('{"a":1}');
  });

  it('makes ids that sort by time', async () => {
    const ids = await Promise.all(Array.from({ length: 50 }, async () => (await make()).id));
    expect([...ids].sort()).toEqual(ids);
  });

  it('orders by key within a transport and an order scope alone', async () => {
    const [one, sameScope, otherScope, otherTransport] = await Promise.all([
      make({ key: 'k' }),
      make({ key: 'k', destination: 'shop/other.routing.key' }),
      make({ key: 'k', destination: 'warehouse' }),
      make({ key: 'k', transport: 'other' }),
    ]);
    expect(sameScope.keyHash).toBe(one.keyHash);
    expect(otherScope.keyHash).not.toBe(one.keyHash);
    expect(otherTransport.keyHash).not.toBe(one.keyHash);
  });

  it('keeps transport, scope and key apart in the digest', () => {
    expect(hashKey('a', 'b', 'c')).not.toBe(hashKey('a', 'bc', ''));
    expect(hashKey('a', 'b', 'c')).toBe(hashKey('a', 'b', 'c'));
    expect(hashKey('a', 'b', 'ORDER-A')).not.toBe(hashKey('a', 'b', 'order-á'));
  });

  it.each<[string, PublishOptions | { key: number }, unknown, string, string]>([
    ['an empty type', {}, {}, '', 'type'],
    ['a type too long', {}, {}, 'x'.repeat(256), 'type'],
    ['a key of bytes too many', { key: 'é'.repeat(128) }, {}, 't', 'key'],
    ['an empty key', { key: '' }, {}, 't', 'key'],
    ['a key that is no string', { key: 7 }, {}, 't', 'key'],
    ['an id that is no UUID', { id: 'order-1' }, {}, 't', 'id'],
    ['a transport that nobody registered', { transport: 'kafka' }, {}, 't', 'transport'],
    ['a delay below zero', { delayMs: -1 }, {}, 't', 'delayMs'],
    ['a delay that is no number', { delayMs: Number.NaN }, {}, 't', 'delayMs'],
    ['an expiry of nothing', { expiresInMs: 0 }, {}, 't', 'expiresInMs'],
    ['a reserved header', { headers: { 'X-Outbox-Key': 'a' } }, {}, 't', 'headers.X-Outbox-Key'],
    ['a header that is no string', { headers: { n: 1 as unknown as string } }, {}, 't', 'headers.n'],
    ['a payload too large', {}, 'x'.repeat(100), 't', 'payload'],
    ['a payload that JSON does not have', {}, () => 1, 't', 'payload'],
    ['a payload with a bigint', {}, { a: 1n }, 't', 'payload'],
  ])('refuses %s and names the property', async (_what, options, payload, type, property) => {
    const error = await make(options as PublishOptions, payload, type).then(
      () => undefined,
      (failure: unknown) => failure,
    );
    expect(error).toBeInstanceOf(InvalidMessageError);
    expect(error).toMatchObject({ property, code: 'OUTBOX_INVALID_MESSAGE' });
  });

  it('makes the message at once with a synchronous codec, so that an unawaited publish is staged in time', () => {
    expect(factory.make('t', {}, {})).not.toBeInstanceOf(Promise);
  });

  it('takes an id of the caller, in lower case', async () => {
    const id = '0190A0B1-0000-7000-8000-ABCDEFABCDEF';
    expect((await make({ id })).id).toBe(id.toLowerCase());
  });
});
