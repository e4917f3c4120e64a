import { type Envelope, envelopeTimestamp } from '../../core/envelope';
import type { ClaimedMessage } from '../../core/message';
import { SHORT_STRING_BYTES_MAX, parseDestination } from './destination';
import { headersOf } from './message-headers';

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
  const headers = headersOf(message);
  if (typeof headers === 'string') return headers;
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

function isTooLong(text: string | null): boolean {
  return (
    text !== null &&
    text.length > SHORT_STRING_LENGTH_SAFE &&
    Buffer.byteLength(text) > SHORT_STRING_BYTES_MAX
  );
}
