import type { ClaimedMessage } from '../core/message';

/** Messages of each key, in the order in which they are given. */
export function byKey(messages: readonly ClaimedMessage[]): Map<bigint | null, ClaimedMessage[]> {
  const found = new Map<bigint | null, ClaimedMessage[]>();
  for (const message of messages) {
    const some = found.get(message.keyHash);
    if (some === undefined) found.set(message.keyHash, [message]);
    else some.push(message);
  }
  return found;
}
