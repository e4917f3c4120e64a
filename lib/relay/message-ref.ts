import type { MessageRef } from '../core/events';
import type { MessageContent } from '../core/message';

/** A message as events name it: never with its payload. */
export function messageRef(message: MessageContent): MessageRef {
  const { id, type, transport, destination, key } = message;
  return { id, type, transport, destination, key };
}
