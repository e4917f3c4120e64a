import type { ClaimedMessage } from '../core/message';

/** How a message came into this process's hands: from memory after its commit, or out of the table. */
export type SentVia = 'fast-path' | 'resend';

/**
 * A message in this process's hands, from the moment it is taken until its outcome is written down (and, with a key, its
 * successor has been looked for). One object a message goes through queue, flight and batches.
 */
export interface HeldMessage {
  /** The claim that is valid now. Another one than at first, when this process lost its lease and claimed it again. */
  message: ClaimedMessage;
  readonly via: SentVia;
  /** It was promoted when the one before it in its key was sent: more are likely to wait behind it. */
  readonly chained: boolean;
  /** On the monotonic clock. Grows while handlers run; Infinity once the lease is lost and there is nothing to renew. */
  leaseEndsAtMs: number;
}

export function hold(message: ClaimedMessage, via: SentVia, chained: boolean): HeldMessage {
  return { message, via, chained, leaseEndsAtMs: message.leaseEndsAtMs };
}
