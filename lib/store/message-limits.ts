import { InvalidMessageError } from '../core/errors';
import type { InboxEntry } from '../core/inbox-store.port';
import type { StagedMessage } from '../core/message';

const TEXT_BYTES_MAX = 255;
const TRANSPORT_BYTES_MAX = 63;
const INTEGER_MAX = 2_147_483_647;
/** A hundred years: no server's calendar ends before. */
const DURATION_MS_MAX = 100 * 366 * 86_400_000;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * Refuses what the tables cannot hold, before any SQL: both servers alike, and with the property's name. A server would
 * cut it, refuse it with an error about bytes, or end the transaction.
 */
export function checkMessage(message: StagedMessage): void {
  const refuse = (property: string, reason: string): never => {
    throw new InvalidMessageError(message.type, property, reason);
  };
  if (!UUID.test(message.id)) refuse('id', `is ${message.id}; give a UUID in lower case.`);
  checkText(message.transport, 'transport', refuse, TRANSPORT_BYTES_MAX);
  checkText(message.type, 'type', refuse);
  checkText(message.destination, 'destination', refuse);
  checkText(message.contentType, 'contentType', refuse);
  if (message.key !== null) checkText(message.key, 'key', refuse);
  if (message.tenant !== null) checkText(message.tenant, 'tenant', refuse);
  if (message.source !== null) checkText(message.source, 'source', refuse);
  if (message.contentEncoding !== null) checkText(message.contentEncoding, 'contentEncoding', refuse);
  if (message.schemaVersion !== null && !isWithin(message.schemaVersion, -INTEGER_MAX, INTEGER_MAX, true)) {
    refuse('schemaVersion', `is ${message.schemaVersion}; give a whole number of 32 bits.`);
  }
  if (!isWithin(message.delayMs, 0, DURATION_MS_MAX)) {
    refuse('delayMs', `is ${message.delayMs}; give 0 to ${DURATION_MS_MAX} milliseconds.`);
  }
  if (message.expiresInMs !== null && !isWithin(message.expiresInMs, 0, DURATION_MS_MAX)) {
    refuse('expiresInMs', `is ${message.expiresInMs}; give 0 to ${DURATION_MS_MAX} milliseconds, or null.`);
  }
}

/** Whether a text can be a message's id, in whatever case. */
export function isMessageId(text: string): boolean {
  return UUID.test(text.toLowerCase());
}

export function checkInboxEntry({ consumer, messageKey }: InboxEntry): void {
  const refuse = (property: string, reason: string): never => {
    throw new InvalidMessageError(`for ${consumer}`, property, reason);
  };
  checkText(consumer, 'consumer', refuse);
  checkText(messageKey, 'messageKey', refuse);
}

/** Makes a text fit for a column of errors and names, which must never be the reason that a write fails. */
export function fitText(text: string, lengthMax: number): string {
  return text.slice(0, lengthMax).replaceAll('\0', '').toWellFormed();
}

function checkText(
  value: string,
  property: string,
  refuse: (property: string, reason: string) => never,
  bytesMax = TEXT_BYTES_MAX,
): void {
  // A UTF-16 unit is three bytes at most: most values need no count.
  if (value.length * 3 > bytesMax && Buffer.byteLength(value) > bytesMax) {
    refuse(property, `has ${Buffer.byteLength(value)} bytes of UTF-8; ${bytesMax} is the limit.`);
  }
  if (value.includes('\0')) refuse(property, 'contains a NUL character.');
  // Half of a character: both servers would store something else in its place, and two keys could become one.
  if (!value.isWellFormed()) refuse(property, 'contains half of a surrogate pair.');
}

function isWithin(value: number, least: number, most: number, whole = false): boolean {
  return Number.isFinite(value) && value >= least && value <= most && (!whole || Number.isInteger(value));
}
