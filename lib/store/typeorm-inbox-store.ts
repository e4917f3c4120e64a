import type { InboxEntry, InboxStore } from '../core/inbox-store.port';
import type { StatementRunner } from '../core/statement-runner';
import { isLockTimeoutError, isTransientError, retryTransient } from './database-errors';
import type { InboxDialect } from './dialects/dialect.port';
import { checkInboxEntry } from './message-limits';
import type { RelayDataSource } from './relay-data-source';

/** The consumer's record of handled messages. `add` runs on the handler's transaction, the rest on connections of its own. */
export class TypeOrmInboxStore implements InboxStore {
  constructor(
    private readonly database: RelayDataSource,
    private readonly inbox: InboxDialect,
    private readonly verification: () => Promise<void>,
  ) {}

  verify(): Promise<void> {
    return this.verification();
  }

  async add(
    statements: StatementRunner,
    entries: readonly InboxEntry[],
    waitMs: number | null = null,
  ): Promise<readonly InboxEntry[]> {
    if (entries.length === 0) return [];
    if (entries.length === 1 && entries[0] !== undefined) {
      checkInboxEntry(entries[0]);
      return this.inbox.add(statements, entries, waitMs);
    }
    const distinct = new Map<string, InboxEntry>();
    for (const entry of entries) {
      checkInboxEntry(entry);
      const identity = identityOf(entry);
      if (!distinct.has(identity)) distinct.set(identity, entry);
    }
    // In one order everywhere, so that two batches that share entries do not wait for each other in a circle.
    const sorted = [...distinct].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const added = await this.inbox.add(
      statements,
      sorted.map(([, entry]) => entry),
      waitMs,
    );
    const fresh = new Set(added.map(identityOf));
    return [...distinct].filter(([identity]) => fresh.has(identity)).map(([, entry]) => entry);
  }

  isTransient(error: unknown): boolean {
    return isTransientError(error);
  }

  isLockTimeout(error: unknown): boolean {
    return isLockTimeoutError(error);
  }

  purge(olderThanMs: number, limit: number): Promise<number> {
    return retryTransient(() => this.inbox.purge(this.database, olderThanMs, limit));
  }
}

/** Neither part contains a NUL; checked before. */
function identityOf({ consumer, messageKey }: InboxEntry): string {
  return `${consumer}\0${messageKey}`;
}
