import type { MessageStatus } from '../../lib/core/message-status';

/** A message as table and model are compared. Times are ticks from now; 0 and less is past. */
export interface Picture {
  readonly id: string;
  readonly key: string | null;
  readonly status: MessageStatus;
  readonly attempts: number;
  readonly claims: number;
  readonly token: string | null;
  readonly nextIn: number;
  readonly expiresIn: number | null;
}

/** All that means something, key by key; rows come and stay in the order of their insertion. */
export function byKey(rows: readonly Picture[]): Record<string, object[]> {
  const pictures: Record<string, object[]> = {};
  for (const row of rows) (pictures[row.key ?? 'without a key'] ??= []).push(meaningOf(row));
  return pictures;
}

/** A claim means something in a pending row alone, and an expiry where the message may still be sent. */
function meaningOf({ id, status, attempts, claims, token, nextIn, expiresIn }: Picture): object {
  if (status === 'pending') return { id, status, attempts, claims, token, nextIn, expiresIn };
  return status === 'blocked' ? { id, status, attempts, expiresIn } : { id, status, attempts, token };
}
