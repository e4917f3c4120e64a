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
  /** The run that it is in; null: it goes alone. */
  run: Run | null;
}

/** Messages of one key that leave one after the other, under the lease of the first; see key-runs.ts. */
export interface Run {
  /** The first: the one that is claimed. */
  readonly head: HeldMessage;
  /** Those that were read ahead. They come into hand one by one. */
  readonly followers: readonly ClaimedMessage[];
  /** Confirmed, and not written down, in order: the head first. */
  readonly confirmed: HeldMessage[];
  /** On the monotonic clock: from then on no other is sent. */
  endsAtMs: number;
  /** The one that ended it by being refused. */
  refusedId: string | null;
}

/** @param followers what was read of its key behind it */
export function hold(
  message: ClaimedMessage,
  via: SentVia,
  chained: boolean,
  followers: readonly ClaimedMessage[] = [],
): HeldMessage {
  const { leaseEndsAtMs } = message;
  const head: HeldMessage = { message, via, chained, leaseEndsAtMs, run: null };
  if (followers.length > 0) {
    head.run = { head, followers, confirmed: [], endsAtMs: Number.POSITIVE_INFINITY, refusedId: null };
  }
  return head;
}

/** Whether it is in a run behind its head: then nothing of it is claimed. */
export function isFollower(held: HeldMessage): boolean {
  return held.run !== null && held.run.head !== held;
}
