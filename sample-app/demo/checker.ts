/** What the clients remember, and what the databases hold when all is quiet. Only this run's rows. */
export interface Facts {
  /** How many orders must have come through: those of the last items, and all the others. */
  readonly expectedOrders: number;
  /** Orders of which a client was told that they are placed. */
  readonly toldOrderIds: readonly string[];
  readonly orders: readonly { id: string; customerId: string }[];
  /** `order.placed` messages; the key is the order's id. */
  readonly messages: readonly { id: string; key: string | null; status: string }[];
  readonly payments: readonly { orderId: string }[];
  /** One for each order: how many of the ordered thing should be left in the customer's cart, and how many are. */
  readonly carts: readonly { customerId: string; expected: number; before: number; left: number }[];
  /** Deliveries that were recognised as duplicates, and the inbox by which they were. */
  readonly duplicates: readonly { consumer: string; messageKey: string }[];
  readonly inbox: readonly { consumer: string; messageKey: string }[];
  /** What is left of the last items. */
  readonly stockLeft: number;
}

export interface Row {
  readonly name: string;
  readonly expected: number | undefined;
  readonly found: number;
  readonly addsUp: boolean;
}

/** The end of the demo: each row adds up, or the demo has failed. */
export function check(facts: Facts): Row[] {
  const { expectedOrders } = facts;
  const known = new Set(facts.inbox.map(entryOf));
  const unfounded = facts.duplicates.filter((duplicate) => !known.has(entryOf(duplicate)));
  return [
    row('orders committed', expectedOrders, facts.orders.length),
    row('messages sent', expectedOrders, facts.messages.filter(({ status }) => status === 'sent').length),
    {
      name: 'duplicates dropped',
      expected: undefined,
      found: facts.duplicates.length,
      // Dropped is right only where the first one has taken effect.
      addsUp: unfounded.length === 0,
    },
    row(
      'carts cleared',
      expectedOrders,
      facts.carts.filter(({ expected, left }) => left === expected).length,
    ),
    row('payments requested', expectedOrders, facts.payments.length),
    row('lost', 0, countLost(facts)),
    row('doubled', 0, countDoubled(facts)),
  ];
}

/** 0 when every row adds up, otherwise 1. */
export function exitCodeOf(rows: readonly Row[]): number {
  return rows.every(({ addsUp }) => addsUp) ? 0 : 1;
}

function row(name: string, expected: number, found: number): Row {
  return { name, expected, found, addsUp: found === expected };
}

/** Promises that were not kept: an order that is not there, or whose message, payment request or cart is missing. */
function countLost({ orders, toldOrderIds, messages, payments, carts }: Facts): number {
  const ids = orders.map(({ id }) => id);
  const sent = messages.filter(({ status }) => status === 'sent');
  return (
    countMissing(toldOrderIds, ids) +
    countMissing(
      ids,
      sent.map(({ key }) => key),
    ) +
    countMissing(
      ids,
      payments.map(({ orderId }) => orderId),
    ) +
    carts.filter(({ left, before }) => left >= before).length
  );
}

/** Promises that were kept twice, and things that were sold though there were none. */
function countDoubled({ orders, messages, payments, carts, stockLeft }: Facts): number {
  return (
    countRepeated(orders.map(({ customerId }) => customerId)) +
    countRepeated(messages.map(({ key }) => key)) +
    countRepeated(payments.map(({ orderId }) => orderId)) +
    carts.filter(({ left, expected }) => left < expected).length +
    Math.max(0, -stockLeft)
  );
}

function countMissing(wanted: readonly string[], present: readonly (string | null)[]): number {
  const set = new Set(present);
  return wanted.filter((id) => !set.has(id)).length;
}

function countRepeated(values: readonly (string | null)[]): number {
  return values.length - new Set(values).size;
}

function entryOf({ consumer, messageKey }: { consumer: string; messageKey: string }): string {
  return `${consumer} ${messageKey}`;
}
