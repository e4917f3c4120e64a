import type { ClaimedMessage } from '../core/message';
import { type ClaimedRow, toClaimed } from './message-row';

/**
 * Rows that follow promoted ones, as messages under the claim on these. What is behind a row that cannot be read is left
 * out: it must not overtake it. That row is told of when its own turn comes.
 */
export function toAhead(
  rows: readonly ClaimedRow[],
  token: string,
  leaseEndsAtMs: number,
): readonly ClaimedMessage[] {
  const unreadable: ClaimedRow[] = [];
  const messages = toClaimed(rows, token, leaseEndsAtMs, (row) => unreadable.push(row));
  if (unreadable.length === 0) return messages;
  const isBehind = (row: ClaimedRow): boolean =>
    unreadable.some(({ key_hash, seq }) => key_hash === row.key_hash && BigInt(seq) <= BigInt(row.seq));
  return toAhead(
    rows.filter((row) => !isBehind(row)),
    token,
    leaseEndsAtMs,
  );
}
