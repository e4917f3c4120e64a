import { OutboxConfigurationError } from '../../../lib/core/errors';
import { type IdempotentMarker } from '../../../lib/core/idempotency.port';
import {
  type ConsumedQueue,
  consumerNames,
  type NamedHandler,
} from '../../../lib/idempotency/consumer-names';

const handler = (
  name: string,
  queues: (string | null)[],
  {
    connection = 'default',
    dataSource = 'default',
    ...options
  }: IdempotentMarker['options'] & { connection?: string } = {},
): NamedHandler => ({
  marker: { method: name, dataSource, options },
  name,
  queues: queues.map((queue): ConsumedQueue => ({ connection, queue })),
});
const namesOf = (...handlers: NamedHandler[]) => {
  const names = consumerNames(handlers);
  return handlers.map(({ marker }) => names.get(marker));
};

describe('consumer names', () => {
  it.each([
    ['of a named queue: the queue', handler('A.on', ['orders']), 'orders'],
    ['that were given: as given', handler('A.on', ['orders'], { consumer: 'cart' }), 'cart'],
    ['of a queue that the broker names: as given', handler('A.on', [null], { consumer: 'cart' }), 'cart'],
    ['of several queues: as given', handler('A.on', ['one', 'two'], { consumer: 'cart' }), 'cart'],
    ['of one queue, consumed twice: the queue', handler('A.on', ['orders', 'orders']), 'orders'],
  ])('%s', (_title, given, expected) => {
    expect(namesOf(given)).toEqual([expected]);
  });

  it.each([
    ['the broker names the queue', handler('A.on', [null]), /its queue has no fixed name/],
    ['there are several queues', handler('A.on', ['one', 'two']), /it consumes several queues/],
    ['it is longer than the inbox takes', handler('A.on', ['ü'.repeat(128)]), /256 bytes/],
  ])('are refused when %s', (_title, given, reason) => {
    expect(() => namesOf(given)).toThrow(OutboxConfigurationError);
    expect(() => namesOf(given)).toThrow(reason);
    expect(() => namesOf(given)).toThrow(/A\.on/);
  });

  it('may be shared by handlers that compete for one queue', () => {
    expect(namesOf(handler('A.on', ['orders']), handler('B.on', ['orders']))).toEqual(['orders', 'orders']);
  });

  it('may be the same in two data sources', () => {
    expect(
      namesOf(
        handler('A.on', ['one'], { consumer: 'x' }),
        handler('B.on', ['two'], { consumer: 'x', dataSource: 'other' }),
      ),
    ).toEqual(['x', 'x']);
  });

  it.each([
    ['two queues', handler('A.on', ['one'], { consumer: 'x' }), handler('B.on', ['two'], { consumer: 'x' })],
    [
      'queues of one name on two brokers',
      handler('A.on', ['q']),
      handler('B.on', ['q'], { connection: 'other' }),
    ],
    [
      'unnamed queues',
      handler('A.on', [null], { consumer: 'x' }),
      handler('B.on', [null], { consumer: 'x' }),
    ],
  ])('are refused when shared by %s', (_title, one, other) => {
    expect(() => namesOf(one, other)).toThrow(/A\.on and B\.on.*same consumer name.*different queues/s);
  });

  it.each([
    ['names', handler('A.on', ['q'], { consumer: 'x' }), handler('B.on', ['q'])],
    ['data sources', handler('A.on', ['q']), handler('B.on', ['q'], { dataSource: 'other' })],
  ])('are refused when one queue has two %s', (_title, one, other) => {
    expect(() => namesOf(one, other)).toThrow(/A\.on and B\.on.*same queue under different/s);
  });
});
