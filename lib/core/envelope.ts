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
  const headers: Record<string, string> = { ...message.headers };
  if (message.key !== null) headers[ENVELOPE_HEADERS.key] = message.key;
  if (message.schemaVersion !== null) headers[ENVELOPE_HEADERS.schemaVersion] = String(message.schemaVersion);
  if (message.tenant !== null) headers[ENVELOPE_HEADERS.tenant] = message.tenant;
  return {
    messageId: message.id,
    type: message.type,
    appId: message.source ?? undefined,
    contentType: message.contentType,
    contentEncoding: message.contentEncoding ?? undefined,
    timestamp: Math.floor(message.createdAt.getTime() / 1_000),
    headers,
  };
}
