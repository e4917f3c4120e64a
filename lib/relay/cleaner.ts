import type { Clock } from '../core/clock';
import type { InboxStore } from '../core/inbox-store.port';
import type { OutboxStore } from '../core/outbox-store.port';
import type { BackgroundHealth } from './background-health';
import { PeriodicTask } from './periodic-task';
import type { RetentionSettings } from './relay-settings';

type Purge = (limit: number) => Promise<number>;

/**
 * Deletes what was kept long enough, in small batches: each is a transaction of its own, so none holds locks for long and a
 * replica keeps up. With an inbox and no outbox, it works as well.
 */
export class Cleaner extends PeriodicTask {
  constructor(
    settings: RetentionSettings,
    stores: {
      readonly outbox: Pick<OutboxStore, 'purge'> | null;
      readonly inbox: Pick<InboxStore, 'purge'> | null;
    },
    clock: Clock,
    health: BackgroundHealth,
    /** Dead letters were deleted: the keys that they held are free. */
    keysFreed: () => void,
  ) {
    const purges = [
      ...outboxPurges(settings, stores.outbox, keysFreed),
      ...inboxPurges(settings, stores.inbox),
    ];
    super(
      {
        task: 'Deleting old rows',
        intervalMs: settings.intervalMs,
        atOnce: false,
        async run(stopping) {
          for (const purge of purges) {
            for (let deleted = settings.batchSizeMax; deleted >= settings.batchSizeMax && !stopping();) {
              deleted = await purge(settings.batchSizeMax);
            }
          }
        },
      },
      clock,
      health,
    );
  }
}

function outboxPurges(
  settings: RetentionSettings,
  store: Pick<OutboxStore, 'purge'> | null,
  keysFreed: () => void,
): Purge[] {
  if (store === null) return [];
  const { sentMs, deadLetterMs } = settings;
  const purges: Purge[] = (['sent', 'consumed', 'cancelled'] as const).map(
    (status) => (limit) => store.purge({ status, olderThanMs: sentMs, limit }),
  );
  if (deadLetterMs !== null) {
    purges.push(async (limit) => {
      const deleted = await store.purge({ status: 'dead_letter', olderThanMs: deadLetterMs, limit });
      if (deleted > 0) keysFreed();
      return deleted;
    });
  }
  return purges;
}

function inboxPurges(settings: RetentionSettings, store: Pick<InboxStore, 'purge'> | null): Purge[] {
  return store === null ? [] : [(limit) => store.purge(settings.inboxMs, limit)];
}
