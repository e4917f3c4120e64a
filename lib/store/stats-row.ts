import type { StoreStats } from '../core/outbox-store.port';

/** The figures as every dialect's SQL gives them; null for the age or the sum of no rows. */
export type StatsRow = Readonly<
  Record<
    'pending' | 'blocked' | 'due' | 'dead' | 'parked_keys' | 'parked_messages' | 'oldest_ms' | 'sent',
    string | number | null
  >
>;

/** @param sent the count of sent rows, or an estimate where that would cost a scan. */
export function toStats(row: StatsRow, sent: number): StoreStats {
  return {
    pending: Number(row.pending) + Number(row.blocked),
    blocked: Number(row.blocked),
    due: Number(row.due ?? 0),
    deadLetters: Number(row.dead),
    parkedKeys: Number(row.parked_keys),
    parked: Number(row.parked_messages),
    oldestUnsentMs: row.oldest_ms === null ? 0 : Math.max(1, Math.ceil(Number(row.oldest_ms))),
    sent,
  };
}
