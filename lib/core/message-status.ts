/**
 * The life of an outbox row, in one place. Stores turn these moves into conditional UPDATEs (`WHERE status = from`),
 * so a move that is not listed here cannot happen, whoever races whom.
 *
 *      ╭─────────────────╮ (sent in a run, behind the one that is pending)
 *   blocked ──▶ pending ──▶ sent ──▶ consumed
 *                 │  ▲
 *                 ▼  │ redrive
 *             dead_letter ──▶ cancelled (discarded by a person; or expired: then blocked and pending go there, too)
 *                 │ redrive, behind an earlier message of its key
 *                 ▼
 *              blocked
 *
 *   prepared ──▶ pending | cancelled (check-back)
 */
export const MESSAGE_STATUSES = [
  'blocked',
  'pending',
  'sent',
  'consumed',
  'dead_letter',
  'prepared',
  'cancelled',
] as const;

/**
 * - `blocked`: an earlier message of the same key is unsent, or is not written down as sent yet; nobody may claim the row.
 * - `pending`: to be sent once `next_attempt_at` has passed. A lease, a delay and a back-off are all that one timestamp.
 * - `sent`: the broker confirmed it.
 * - `consumed`: a consumer's receipt came back.
 * - `dead_letter`: given up on, kept for a person.
 * - `prepared`: waits for the application's word (check-back).
 * - `cancelled`: will never be sent: a person discarded it, or its time was over before it could be. It holds no key.
 */
export type MessageStatus = (typeof MESSAGE_STATUSES)[number];

/** The legal moves. Read as: a row in the status on the left may become any of those on the right. */
export const STATUS_MOVES: Readonly<Record<MessageStatus, readonly MessageStatus[]>> = {
  blocked: ['pending', 'sent', 'cancelled'],
  pending: ['sent', 'dead_letter', 'cancelled'],
  sent: ['consumed'],
  consumed: [],
  dead_letter: ['pending', 'blocked', 'cancelled'],
  prepared: ['pending', 'cancelled'],
  cancelled: [],
};

/** Statuses of messages that the broker does not have yet, and that somebody still has to act on. */
export const UNSENT_STATUSES: readonly MessageStatus[] = ['blocked', 'pending'];

/** Whether a row may go from one status to another. */
export function mayMove(from: MessageStatus, to: MessageStatus): boolean {
  return STATUS_MOVES[from].includes(to);
}

/**
 * The statuses of an earlier message that keep a later one of the same key `blocked`.
 * A dead letter holds its key under `park`, and lets it go on under `skip`.
 */
export function holdingStatuses(onDeadLetter: 'park' | 'skip'): readonly MessageStatus[] {
  return onDeadLetter === 'park' ? ['blocked', 'pending', 'dead_letter'] : ['blocked', 'pending'];
}
