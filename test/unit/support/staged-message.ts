import { randomUUID } from 'node:crypto';
import type { StagedMessage } from '../../../lib/core/message';

let count = 0;

/** A message as the outbox stages it. With a key, its hash is made up from it and the transport. */
export function stagedMessage(given: Partial<StagedMessage> = {}): StagedMessage {
  count += 1;
  const { key = null, transport = 'main' } = given;
  return {
    id: randomUUID(),
    type: 'thing.happened',
    transport,
    destination: 'things',
    key,
    keyHash: key === null ? null : hashOf(`${transport}/${key}`),
    tenant: null,
    source: 'tests',
    payload: Buffer.from(JSON.stringify({ count })),
    contentType: 'application/json',
    contentEncoding: null,
    schemaVersion: null,
    headers: {},
    delayMs: 0,
    expiresInMs: null,
    ...given,
  };
}

function hashOf(text: string): bigint {
  let hash = 7n;
  for (const byte of Buffer.from(text)) hash = BigInt.asIntN(64, hash * 31n + BigInt(byte));
  return hash;
}
