import { UnprocessableMessageError } from '../core/errors';
import type { ConsumedMessage, IdempotentMarker } from '../core/idempotency.port';

/** What the inbox's column holds. */
const KEY_SIZE_MAX_BYTES = 255;

/**
 * What identifies a message at its consumer.
 * @throws UnprocessableMessageError when nothing does. What the application's own `key` throws comes through.
 */
export function messageKeyOf(
  marker: IdempotentMarker,
  payload: unknown,
  message: ConsumedMessage | undefined,
): string {
  const { key } = marker.options;
  const value: unknown =
    key === undefined ? message?.properties?.messageId : key(payload, message as ConsumedMessage);
  const fault = faultOf(value);
  if (fault === null) return value as string;
  throw new UnprocessableMessageError(
    key === undefined
      ? `${marker.method}: the message id ${fault}, so a duplicate could not be told apart. Publish with a messageId ` +
          `(the outbox does), or say what identifies the message: @Idempotent({ key: (payload) => … }).`
      : `${marker.method}: the key that @Idempotent({ key }) made ${fault}.`,
  );
}

function faultOf(key: unknown): string | null {
  if (key === undefined || key === null || key === '') return 'is missing';
  if (typeof key !== 'string') return `is no string but a ${typeof key}`;
  const sizeBytes = Buffer.byteLength(key);
  if (sizeBytes > KEY_SIZE_MAX_BYTES)
    return `has ${sizeBytes} bytes, and at most ${KEY_SIZE_MAX_BYTES} are compared`;
  // Either would be stored as something else, and then two messages might look like one.
  if (/\p{Surrogate}/u.test(key) || key.includes('\0')) return 'is not valid text';
  return null;
}
