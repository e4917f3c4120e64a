import { type Envelope, envelopeHeaders, envelopeTimestamp } from '../../core/envelope';
import type { ClaimedMessage } from '../../core/message';
import { SLOT_HEADER, slotOf } from '../../core/ordered-queue';
import { SHORT_STRING_BYTES_MAX, parseDestination } from './destination';

/**
 * Headers are one AMQP frame together with the other properties: amqplib encodes them in 64 KiB, and a broker closes the
 * whole connection for a frame that is too long, which would fail every other message, too.
 */
const HEADERS_BYTES_MAX = 60_000;
/** UTF-8 takes three bytes at most for each of JavaScript's characters: up to here there is nothing to count. */
const SHORT_STRING_LENGTH_SAFE = Math.floor(SHORT_STRING_BYTES_MAX / 3);

/** A message as amqplib's `publish()` takes it. */
export interface Publication {
  readonly exchange: string;
  readonly routingKey: string;
  readonly options: Envelope & { readonly mandatory: boolean; readonly persistent: true };
}

/** @returns the publication, or why this message can never be sent: amqplib must not be given what it cannot encode. */
export function publicationOf(message: ClaimedMessage, mandatory: boolean): Publication | string {
  const { exchange, routingKey } = parseDestination(message.destination, message.type);
  const { id, type, source, contentType, contentEncoding } = message;
  const tooLong =
    (isTooLong(exchange) && 'exchange of the destination') ||
    (isTooLong(routingKey) && 'routing key') ||
    (isTooLong(type) && 'type') ||
    (isTooLong(id) && 'id') ||
    (isTooLong(source) && 'source') ||
    (isTooLong(contentType) && 'content type') ||
    (isTooLong(contentEncoding) && 'content encoding');
  if (tooLong !== false) {
    return `Its ${tooLong} is longer than the ${SHORT_STRING_BYTES_MAX} bytes that RabbitMQ takes`;
  }
  // What has no key is spread by its id: it has no order to keep.
  const slot = slotOf(message.key ?? id);
  let headers = envelopeHeaders(message);
  if (headers === null) headers = slotAlone(slot);
  else {
    headers[SLOT_HEADER] = slot;
    const problem = headersProblem(headers);
    if (problem !== null) return problem;
  }
  // One literal: spreads of an envelope would cost more than the rest of this.
  const options = {
    messageId: id,
    type,
    appId: source ?? undefined,
    contentType,
    contentEncoding: contentEncoding ?? undefined,
    timestamp: envelopeTimestamp(message),
    headers,
    mandatory,
    persistent: true as const,
  };
  return { exchange, routingKey, options };
}

const slotsAlone = new Map<string, Envelope['headers']>();

/** Messages that bear nothing but their slot share its headers: amqplib makes a prototype of them, which is slow for a new object. */
function slotAlone(slot: string): Envelope['headers'] {
  let headers = slotsAlone.get(slot);
  if (headers === undefined) {
    headers = { [SLOT_HEADER]: slot };
    slotsAlone.set(slot, headers);
  }
  return headers;
}

function isTooLong(text: string | null): boolean {
  return (
    text !== null &&
    text.length > SHORT_STRING_LENGTH_SAFE &&
    Buffer.byteLength(text) > SHORT_STRING_BYTES_MAX
  );
}

function headersProblem(headers: Envelope['headers']): string | null {
  let bytes = 0;
  for (const [name, value] of Object.entries(headers)) {
    const nameBytes = Buffer.byteLength(name);
    if (nameBytes > SHORT_STRING_BYTES_MAX)
      return `A header's name is longer than ${SHORT_STRING_BYTES_MAX} bytes`;
    if (typeof value !== 'string') return `The header ${name} is no string`;
    bytes += nameBytes + Buffer.byteLength(value) + 6;
  }
  return bytes > HEADERS_BYTES_MAX
    ? `Its headers and its key have ${bytes} bytes, and ${HEADERS_BYTES_MAX} is the limit. Put it into the payload`
    : null;
}
