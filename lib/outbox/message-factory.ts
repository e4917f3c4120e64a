import type { Codec, EncodedPayload } from '../core/codec.port';
import { InvalidMessageError } from '../core/errors';
import type { MessageHeaders, StagedMessage } from '../core/message';
import type { TransportDefinition } from '../core/transport.port';
import { hashKey } from './key-hash';
import { newMessageId } from './message-id';
import type { PublishOptions } from './publish-options';

/** RFC 9562's text form, any version. */
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const TEXT_SIZE_MAX_BYTES = 255;
const RESERVED_HEADER = /^x-outbox-/i;

/** Of most messages. One object for all, so nobody may change it. */
const NO_HEADERS: MessageHeaders = Object.freeze({});
const UNENCODED = Buffer.alloc(0);

/** A message in the making. A class, because of what `core/short-lived.ts` says. */
class Draft implements StagedMessage {
  key: string | null = null;
  keyHash: bigint | null = null;
  tenant: string | null = null;
  schemaVersion: number | null = null;
  payload: Buffer = UNENCODED;
  contentType = '';
  contentEncoding: string | null = null;
  headers = NO_HEADERS;
  delayMs = 0;
  expiresInMs: number | null = null;

  constructor(
    readonly id: string,
    readonly type: string,
    readonly transport: string,
    readonly destination: string,
    readonly source: string | null,
  ) {}
}

export interface MessageFactoryOptions {
  readonly transports: Readonly<Record<string, TransportDefinition>>;
  readonly defaultTransport: string;
  readonly source: string | null;
  readonly payloadSizeMaxBytes: number;
  readonly codec: Codec;
}

/** Makes a message of what a publisher said, or an error that names the property at fault. */
export class MessageFactory {
  constructor(private readonly options: MessageFactoryOptions) {}

  /**
   * Synchronous wherever the codec is: a `publish()` that nobody awaits is then still staged before its transaction can
   * go on to commit.
   */
  make(type: string, payload: unknown, options: PublishOptions): StagedMessage | Promise<StagedMessage> {
    const envelope = this.envelope(type, options);
    const encoded = this.options.codec.encode(payload, { type, id: envelope.id });
    return encoded instanceof Promise
      ? encoded.then((result) => this.withPayload(envelope, result))
      : this.withPayload(envelope, encoded);
  }

  /** All but what the codec gives; `withPayload` fills that in. */
  private envelope(type: string, options: PublishOptions): Draft {
    if (typeof type !== 'string' || type === '')
      throw new InvalidMessageError(String(type), 'type', 'must be a non-empty string.');
    limitText(type, 'type', type);
    const transport = options.transport ?? this.options.defaultTransport;
    const definition = this.options.transports[transport];
    if (definition === undefined) {
      const known = Object.keys(this.options.transports).join(', ');
      throw new InvalidMessageError(
        type,
        'transport',
        `is '${transport}', which is not registered. Known: ${known}.`,
      );
    }
    const destination = definition.destinationOf(type, options.destination);
    limitText(type, 'destination', destination);
    const draft = new Draft(idOf(type, options.id), type, transport, destination, this.options.source);
    const { key, tenant, schemaVersion, headers, delayMs, expiresInMs } = options;
    if (key !== undefined && key !== null) {
      draft.key = checkedKey(type, key);
      draft.keyHash = hashKey(transport, definition.orderScopeOf(destination), key);
    }
    if (tenant !== undefined && tenant !== null) {
      limitText(type, 'tenant', tenant);
      draft.tenant = tenant;
    }
    if (schemaVersion !== undefined)
      draft.schemaVersion = wholeNumber(type, 'schemaVersion', schemaVersion, 0);
    if (headers !== undefined) draft.headers = checkedHeaders(type, headers);
    if (delayMs !== undefined) draft.delayMs = wholeNumber(type, 'delayMs', delayMs, 0);
    if (expiresInMs !== undefined) draft.expiresInMs = wholeNumber(type, 'expiresInMs', expiresInMs, 1);
    return draft;
  }

  private withPayload(
    draft: Draft,
    { payload, contentType, contentEncoding }: EncodedPayload,
  ): StagedMessage {
    const max = this.options.payloadSizeMaxBytes;
    if (payload.length > max) {
      throw new InvalidMessageError(
        draft.type,
        'payload',
        `is ${payload.length} bytes long, and payloadSizeMaxBytes is ${max}. Send a reference to the data, or raise the limit.`,
      );
    }
    // Into the object that is there: for one of this size, a spread costs a hundred times as much.
    draft.payload = payload;
    draft.contentType = contentType;
    draft.contentEncoding = contentEncoding;
    return draft;
  }
}

function idOf(type: string, id: string | undefined): string {
  if (id === undefined) return newMessageId();
  const lower = String(id).toLowerCase();
  if (!UUID.test(lower))
    throw new InvalidMessageError(type, 'id', `is '${lower.slice(0, 60)}'; give a UUID, or leave it out.`);
  return lower;
}

function checkedKey(type: string, key: string): string {
  if (typeof key !== 'string') {
    throw new InvalidMessageError(type, 'key', `is a ${typeof key}; give a string, e.g. String(order.id).`);
  }
  if (key === '')
    throw new InvalidMessageError(type, 'key', 'is empty. Leave it out for a message without order.');
  limitText(type, 'key', key);
  return key;
}

function checkedHeaders(type: string, headers: MessageHeaders): MessageHeaders {
  for (const [name, value] of Object.entries(headers)) {
    if (RESERVED_HEADER.test(name)) {
      throw new InvalidMessageError(
        type,
        `headers.${name}`,
        'is reserved for the library. Choose another name.',
      );
    }
    if (typeof value !== 'string') {
      throw new InvalidMessageError(type, `headers.${name}`, `is a ${typeof value}; give a string.`);
    }
  }
  return headers;
}

function limitText(type: string, property: string, text: string): void {
  // A UTF-16 unit is three bytes at most: most values need no count.
  if (text.length * 3 <= TEXT_SIZE_MAX_BYTES) return;
  const bytes = Buffer.byteLength(text);
  if (bytes > TEXT_SIZE_MAX_BYTES) {
    throw new InvalidMessageError(
      type,
      property,
      `is ${bytes} bytes long; at most ${TEXT_SIZE_MAX_BYTES} fit.`,
    );
  }
}

function wholeNumber(type: string, property: string, value: number, least: number): number {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new InvalidMessageError(
      type,
      property,
      `is ${String(value)}; give a whole number of at least ${least}.`,
    );
  }
  return value;
}
