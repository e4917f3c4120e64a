import type {
  DeadLetter,
  DeadLetterFilter,
  DeadLetterPage,
  DeadLetterStore,
} from '../core/dead-letter-store.port';
import { OutboxConfigurationError } from '../core/errors';
import { retryTransient } from './database-errors';
import type { DeadLetterDialect, MovedRow, OutboxDialect } from './dialects/dialect.port';
import { toRecord, type WaitedForRow } from './message-row';
import { isMessageId } from './message-limits';
import type { RelayDataSource } from './relay-data-source';

/** The last number that a `seq` can be. */
const SEQ_MAX = 2n ** 63n - 1n;

/** The given-up messages of one message table. */
export class TypeOrmDeadLetterStore implements DeadLetterStore {
  constructor(
    private readonly database: RelayDataSource,
    private readonly deadLetters: DeadLetterDialect,
    private readonly outbox: OutboxDialect,
  ) {}

  async list(
    filter: DeadLetterFilter,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<DeadLetterPage> {
    // One more than asked for tells whether there is another page.
    const rows = await this.deadLetters.list(
      this.database,
      usable(filter),
      page.limit + 1,
      cursorOf(page.after),
    );
    const items = rows.slice(0, page.limit).map(toDeadLetter);
    return { items, next: rows.length > page.limit ? (items.at(-1)?.seq ?? null) : null };
  }

  count(filter: DeadLetterFilter): Promise<number> {
    return this.deadLetters.count(this.database, usable(filter));
  }

  async get(id: string): Promise<DeadLetter | null> {
    if (!isMessageId(id)) return null;
    const row = await this.deadLetters.get(this.database, id.toLowerCase());
    return row === null ? null : toDeadLetter(row);
  }

  async redrive(filter: DeadLetterFilter, limit: number): Promise<readonly string[]> {
    const moved = await retryTransient(() => this.deadLetters.redrive(this.database, usable(filter), limit));
    // Whoever held the key may have been completed while this looked: nobody else would promote before the sweeper.
    const keyHashes = keyHashesOf(moved);
    if (keyHashes.length > 0) await retryTransient(() => this.outbox.promote(this.database, keyHashes, null));
    return moved.map(({ id }) => id);
  }

  async discard(
    filter: DeadLetterFilter,
    limit: number,
  ): Promise<{ ids: readonly string[]; keyHashes: readonly bigint[] }> {
    const moved = await retryTransient(() => this.deadLetters.discard(this.database, usable(filter), limit));
    return { ids: moved.map(({ id }) => id), keyHashes: keyHashesOf(moved) };
  }
}

function toDeadLetter(row: WaitedForRow): DeadLetter {
  return { ...toRecord(row), waiting: Number(row.waiting) };
}

/** Cursors come back through people's links, and end in SQL. */
function cursorOf(after: string | undefined): bigint | null {
  if (after === undefined) return null;
  if (/^\d{1,19}$/.test(after) && BigInt(after) <= SEQ_MAX) return BigInt(after);
  throw new OutboxConfigurationError(
    'after',
    `is '${after}'; give the \`next\` of the page before, or nothing.`,
  );
}

function keyHashesOf(rows: readonly MovedRow[]): bigint[] {
  return [...new Set(rows.flatMap((row) => (row.key_hash === null ? [] : [BigInt(row.key_hash)])))];
}

/** What is no id is no row's id; PostgreSQL would refuse the whole question for it. */
function usable(filter: DeadLetterFilter): DeadLetterFilter {
  if (filter.ids === undefined) return filter;
  return { ...filter, ids: filter.ids.filter(isMessageId).map((id) => id.toLowerCase()) };
}
