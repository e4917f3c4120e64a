import { check, exitCodeOf, type Facts } from '../../../sample-app/demo/checker';
import { formatTable } from '../../../sample-app/demo/table';

/** Two orders, of which everything came true once. */
const WELL: Facts = {
  expectedOrders: 2,
  toldOrderIds: ['o1', 'o2'],
  orders: [
    { id: 'o1', customerId: 'ann' },
    { id: 'o2', customerId: 'bob' },
  ],
  messages: [
    { id: 'm1', key: 'o1', status: 'sent' },
    { id: 'm2', key: 'o2', status: 'sent' },
  ],
  payments: [{ orderId: 'o1' }, { orderId: 'o2' }],
  carts: [
    { customerId: 'ann', before: 1, expected: 0, left: 0 },
    { customerId: 'bob', before: 3, expected: 2, left: 2 },
  ],
  duplicates: [{ consumer: 'carts', messageKey: 'm1' }],
  inbox: [
    { consumer: 'carts', messageKey: 'm1' },
    { consumer: 'carts', messageKey: 'm2' },
  ],
  stockLeft: 0,
};

function wrongRows(facts: Partial<Facts>): string[] {
  const rows = check({ ...WELL, ...facts });
  const wrong = rows.filter(({ addsUp }) => !addsUp).map(({ name, found }) => `${name} ${found}`);
  expect(exitCodeOf(rows)).toBe(wrong.length > 0 ? 1 : 0);
  return wrong;
}

describe("the demo's checker", () => {
  it('finds that all adds up', () => {
    expect(wrongRows({})).toEqual([]);
    expect(formatTable(check(WELL))).toBe(
      [
        '                     expected   found',
        'orders committed            2       2   ok',
        'messages sent               2       2   ok',
        'duplicates dropped          -       1   ok',
        'carts cleared               2       2   ok',
        'payments requested          2       2   ok',
        'lost                        0       0   ok',
        'doubled                     0       0   ok',
      ].join('\n'),
    );
  });

  it.each<[string, Partial<Facts>, string[]]>([
    [
      'an order that a client was told of and that is not there',
      { toldOrderIds: ['o1', 'o2', 'o3'] },
      ['lost 1'],
    ],
    [
      'an order whose message was never sent',
      { messages: [WELL.messages[0]!, { id: 'm2', key: 'o2', status: 'pending' }] },
      ['messages sent 1', 'lost 1'],
    ],
    ['an order without a message', { messages: [WELL.messages[0]!] }, ['messages sent 1', 'lost 1']],
    [
      'an order with two messages',
      { messages: [...WELL.messages, { id: 'm3', key: 'o1', status: 'sent' }] },
      ['messages sent 3', 'doubled 1'],
    ],
    [
      'a customer with two orders',
      { orders: [...WELL.orders, { id: 'o3', customerId: 'ann' }] },
      ['orders committed 3', 'lost 2', 'doubled 1'],
    ],
    [
      'a buyer who is not asked to pay',
      { payments: [{ orderId: 'o1' }] },
      ['payments requested 1', 'lost 1'],
    ],
    [
      'a buyer who is asked to pay twice, and another one not at all',
      { payments: [{ orderId: 'o1' }, { orderId: 'o1' }] },
      ['lost 1', 'doubled 1'],
    ],
    [
      'a cart that keeps what was ordered',
      { carts: [WELL.carts[0]!, { customerId: 'bob', before: 3, expected: 2, left: 3 }] },
      ['carts cleared 1', 'lost 1'],
    ],
    [
      'a cart from which it was taken twice',
      { carts: [WELL.carts[0]!, { customerId: 'bob', before: 3, expected: 2, left: 1 }] },
      ['carts cleared 1', 'doubled 1'],
    ],
    ['a stock below zero', { stockLeft: -2 }, ['doubled 2']],
    [
      'a duplicate that was dropped though nothing had been done',
      { duplicates: [{ consumer: 'payments', messageKey: 'm1' }] },
      ['duplicates dropped 1'],
    ],
    [
      'fewer orders than there were items',
      { expectedOrders: 3 },
      ['orders committed 2', 'messages sent 2', 'carts cleared 2', 'payments requested 2'],
    ],
  ])('does not pass %s', (_, facts, wrong) => {
    expect(wrongRows(facts)).toEqual(wrong);
  });
});
