import type { ClaimedMessage } from './message';

/** Headers that the library adds to a message on its way; an application may read them, not set them. */
export const ENVELOPE_HEADERS = {
  key: 'x-outbox-key',
  schemaVersion: 'x-outbox-schema-version',
  tenant: 'x-outbox-tenant',
} as const;

/** A message as its consumers see it, beside the payload, in AMQP's terms, which every transport here speaks. */
export interface Envelope {
  readonly messageId: string;
  readonly type: string;
  /** The publishing application. */
  readonly appId: string | undefined;
  readonly contentType: string;
  readonly contentEncoding: string | undefined;
  /** When it was published, in seconds since 1970. */
  readonly timestamp: number;
  readonly headers: Record<string, string>;
}

export function envelopeOf(message: ClaimedMessage): Envelope {
  return {
    messageId: message.id,
    type: message.type,
    appId: message.source ?? undefined,
    contentType: message.contentType,
    contentEncoding: message.contentEncoding ?? undefined,
    timestamp: envelopeTimestamp(message),
    headers: envelopeHeaders(message),
  };
}

/** The message's own headers and the library's, in an object of the caller's own. */
export function envelopeHeaders({
  key,
  schemaVersion,
  tenant,
  headers: own,
}: ClaimedMessage): Record<string, string> {
  const headers: Record<string, string> = { ...own };
  if (key !== null) headers[ENVELOPE_HEADERS.key] = key;
  if (schemaVersion !== null) headers[ENVELOPE_HEADERS.schemaVersion] = String(schemaVersion);
  if (tenant !== null) headers[ENVELOPE_HEADERS.tenant] = tenant;
  return headers;
}

export function envelopeTimestamp({ createdAt }: ClaimedMessage): number {
  return Math.floor(createdAt.getTime() / 1_000);
}
