import { type Envelope, envelopeOf } from '../../core/envelope';
import type { ClaimedMessage } from '../../core/message';
import { SLOT_HEADER, slotOf } from '../../core/ordered-queue';
import { SHORT_STRING_BYTES_MAX, parseDestination } from './destination';

/**
 * Headers are one AMQP frame together with the other properties: amqplib encodes them in 64 KiB, and a broker closes the
 * whole connection for a frame that is too long, which would fail every other message, too.
 */
const HEADERS_BYTES_MAX = 60_000;

/** A message as amqplib's `publish()` takes it. */
export interface Publication {
  readonly exchange: string;
  readonly routingKey: string;
  readonly options: Envelope & { readonly mandatory: boolean; readonly persistent: true };
}

/** @returns the publication, or why this message can never be sent: amqplib must not be given what it cannot encode. */
export function publicationOf(message: ClaimedMessage, mandatory: boolean): Publication | string {
  const { exchange, routingKey } = parseDestination(message.destination, message.type);
  const envelope = envelopeOf(message);
  // What has no key is spread by its id: it has no order to keep.
  envelope.headers[SLOT_HEADER] = slotOf(message.key ?? message.id);
  const shortStrings = {
    'exchange of the destination': exchange,
    'routing key': routingKey,
    type: envelope.type,
    id: envelope.messageId,
    source: envelope.appId,
    'content type': envelope.contentType,
    'content encoding': envelope.contentEncoding,
  };
  for (const [what, value] of Object.entries(shortStrings)) {
    if (value !== undefined && Buffer.byteLength(value) > SHORT_STRING_BYTES_MAX) {
      return `Its ${what} is longer than the ${SHORT_STRING_BYTES_MAX} bytes that RabbitMQ takes`;
    }
  }
  const problem = headersProblem(envelope.headers);
  if (problem !== null) return problem;
  return { exchange, routingKey, options: { ...envelope, mandatory, persistent: true } };
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
