import { type Envelope, envelopeHeaders } from '../../core/envelope';
import type { ClaimedMessage } from '../../core/message';
import { SLOT_HEADER, slotOf } from '../../core/ordered-queue';
import { SHORT_STRING_BYTES_MAX } from './destination';

type Headers = Envelope['headers'];

/**
 * Headers are one AMQP frame together with the other properties: amqplib encodes them in 64 KiB, and a broker closes the
 * whole connection for a frame that is too long, which would fail every other message, too.
 */
const HEADERS_BYTES_MAX = 60_000;
/** A key that is used once must not stay: when so many are known, all are forgotten. */
const KEYS_KNOWN_MAX = 1_000;

/*
 * Messages that bear nothing but their key and its slot share their headers: amqplib makes a prototype of them and walks
 * through its properties, which is slow for each new object.
 */
const knownBySlot = new Map<string, Headers>();
const knownByKey = new Map<string, Headers>();

/** @returns the headers, which other messages may share; or why they can never be sent. */
export function headersOf(message: ClaimedMessage): Headers | string {
  const { key, id } = message;
  const shares = bearsNoOthers(message);
  const known = shares && key !== null ? knownByKey.get(key) : undefined;
  if (known !== undefined) return known;
  // What has no key is spread by its id: it has no order to keep.
  const slot = slotOf(key ?? id);
  if (shares && key === null) return headersOfSlot(slot);
  const headers = envelopeHeaders(message);
  headers[SLOT_HEADER] = slot;
  const problem = problemOf(headers);
  if (problem !== null) return problem;
  if (shares && key !== null) {
    if (knownByKey.size >= KEYS_KNOWN_MAX) knownByKey.clear();
    knownByKey.set(key, headers);
  }
  return headers;
}

function bearsNoOthers({ headers, schemaVersion, tenant }: ClaimedMessage): boolean {
  return schemaVersion === null && tenant === null && Object.keys(headers).length === 0;
}

function headersOfSlot(slot: string): Headers {
  let headers = knownBySlot.get(slot);
  if (headers === undefined) {
    headers = { [SLOT_HEADER]: slot };
    knownBySlot.set(slot, headers);
  }
  return headers;
}

function problemOf(headers: Headers): string | null {
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
