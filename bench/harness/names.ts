/** The exchange that everything is published to; a topic exchange. */
export const EXCHANGE = 'bench';

/** The one queue, durable and classic, that is bound to all of it. */
export const QUEUE = 'bench.all';

/** Type of each message, and its routing key. */
export const MESSAGE_TYPE = 'bench.happened';

/** The transport's name, as it stands in the rows. */
export const TRANSPORT = 'bench';

/** Of the business transaction that each load runs. */
export const ORDER_TABLE = 'bench_order';

/** Of the consumer's handler. */
export const EFFECT_TABLE = 'bench_effect';

/** The one statement of the business transaction. */
export function insertOrder(type: string): string {
  const marks = type === 'postgres' ? '$1, $2' : '?, ?';
  return `INSERT INTO ${ORDER_TABLE} (customer, amount) VALUES (${marks})`;
}

/** What the JSON around the text takes, roughly. */
const FRAME_BYTES = 24;

/** A payload of so many bytes, with a number by which it is recognised. */
export function payloadOf(n: number, bytes: number): { n: number; text: string } {
  return { n, text: fillerText(bytes) };
}

/** The text in `payloadOf`. */
export function fillerText(bytes: number): string {
  return 'x'.repeat(Math.max(0, bytes - FRAME_BYTES));
}
