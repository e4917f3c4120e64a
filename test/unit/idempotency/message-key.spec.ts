import { UnprocessableMessageError } from '../../../lib/core/errors';
import { type ConsumedMessage, type IdempotentOptions } from '../../../lib/core/idempotency.port';
import { messageKeyOf } from '../../../lib/idempotency/message-key';

const message = (messageId?: unknown): ConsumedMessage => ({
  content: Buffer.alloc(0),
  fields: { exchange: 'shop', routingKey: 'a', redelivered: false, deliveryTag: 1 },
  properties: { messageId: messageId as string },
});
const keyOf = (messageId: unknown, payload: unknown = {}, options: IdempotentOptions = {}) =>
  messageKeyOf({ method: 'A.on', dataSource: 'default', options }, payload, message(messageId));

describe('the key of a message', () => {
  it('is its id', () => {
    expect(keyOf('m-1')).toBe('m-1');
  });

  it('is what the application makes of payload and message', () => {
    const key: IdempotentOptions['key'] = (payload: { n: number }, { properties }) =>
      `${payload.n}/${properties.messageId}`;
    expect(keyOf('m-1', { n: 7 }, { key })).toBe('7/m-1');
  });

  it('may have 255 bytes', () => {
    expect(keyOf('a'.repeat(255))).toHaveLength(255);
  });

  it.each([
    ['missing', undefined, /is missing/],
    ['null', null, /is missing/],
    ['empty', '', /is missing/],
    ['a number', 7, /no string but a number/],
    ['too long in bytes', 'ü'.repeat(128), /256 bytes/],
    ['half a character', '\ud800', /not valid text/],
    ['a NUL', 'a\0b', /not valid text/],
  ])('is refused when it is %s', (_title, id, reason) => {
    expect(() => keyOf(id)).toThrow(UnprocessableMessageError);
    expect(() => keyOf(id)).toThrow(reason);
    expect(() => keyOf('m-1', {}, { key: () => id as string })).toThrow(/the key that @Idempotent/);
  });

  it('is not to be had without a message', () => {
    expect(() => messageKeyOf({ method: 'A.on', dataSource: 'default', options: {} }, {}, undefined)).toThrow(
      /missing/,
    );
  });

  it('lets through what the application throws', () => {
    const failure = new TypeError('No such property');
    const key = () => {
      throw failure;
    };
    expect(() => keyOf('m-1', {}, { key })).toThrow(failure);
  });
});
