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
  /** Read ahead, in order; those of them that were written down, or are being written down, are not here any more. */
  readonly followers: ClaimedMessage[];
  /** Followers that are confirmed, and not handed over to be written down: the first ones of `followers`. */
  confirmed: HeldMessage[];
  /** Is being written down. */
  leg: Leg | null;
  /** On the monotonic clock: from then on no other is sent, */
  endsAtMs: number;
  /** and from then on its end is not put off any more. */
  endsAtLatestMs: number;
  /** When what is confirmed is to be written down. */
  legEndsAtMs: number;
  /** How many should be read ahead. */
  wanted: number;
  /** There may be more of its key in the table than was read. */
  hasMore: boolean;
  /** Nothing of it is sent any more. */
  isOver: boolean;
  /** The one that ended it by being refused. */
  refusedId: string | null;
}

/** A part of a run that is written down while the run goes on. */
export interface Leg {
  readonly lastId: string;
  /** On the monotonic clock. */
  readonly endedAtMs: number;
  /** The last one that was read: more is to be read behind it. null: there is enough. */
  readonly readsBehind: string | null;
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
    head.run = {
      head,
      followers: [...followers],
      confirmed: [],
      leg: null,
      endsAtMs: Number.POSITIVE_INFINITY,
      endsAtLatestMs: Number.POSITIVE_INFINITY,
      legEndsAtMs: Number.POSITIVE_INFINITY,
      wanted: 0,
      hasMore: false,
      isOver: false,
      refusedId: null,
    };
  }
  return head;
}

/** Whether it is in a run behind its head: then nothing of it is claimed. */
export function isFollower(held: HeldMessage): boolean {
  return held.run !== null && held.run.head !== held;
}
