import type {
  DeadLetter,
  DeadLetterFilter,
  DeadLetterPage,
  DeadLetterStore,
} from '../../../lib/core/dead-letter-store.port';
import type { FakeDatabase } from './fake-database';
import { type FakeRow, recordFrom, waitingBehind } from './fake-rows';

/** The dead letters of the fake database. */
export class FakeDeadLetterStore implements DeadLetterStore {
  constructor(private readonly database: FakeDatabase) {}

  list(
    filter: DeadLetterFilter,
    { limit, after = '0' }: { readonly limit: number; readonly after?: string },
  ): Promise<DeadLetterPage> {
    return this.database.statement('list', () => {
      const rest = this.dead(filter).filter(({ seq }) => seq > BigInt(after));
      const page = rest.slice(0, limit);
      return {
        items: page.map((row) => this.show(row)),
        next: rest.length > limit ? page.at(-1)!.seq.toString() : null,
      };
    });
  }

  count(filter: DeadLetterFilter): Promise<number> {
    return this.database.statement('count', () => this.dead(filter).length);
  }

  get(id: string): Promise<DeadLetter | null> {
    return this.database.statement('get', () => {
      const row = this.database.rows.find(({ message }) => message.id === id);
      return row === undefined ? null : this.show(row, true);
    });
  }

  redrive(filter: DeadLetterFilter, limit: number): Promise<readonly string[]> {
    return this.database.statement('redrive', () =>
      this.dead(filter)
        .slice(0, limit)
        .map((row) => {
          Object.assign(row, {
            status: 'pending',
            attempts: 0,
            claims: 0,
            nextAttemptMs: this.database.nowMs,
          });
          return row.message.id;
        }),
    );
  }

  discard(
    filter: DeadLetterFilter,
    limit: number,
  ): Promise<{ ids: readonly string[]; keyHashes: readonly bigint[] }> {
    return this.database.statement('discard', () => {
      const rows = this.dead(filter).slice(0, limit);
      for (const row of rows) row.status = 'cancelled';
      return {
        ids: rows.map(({ message }) => message.id),
        keyHashes: rows.flatMap(({ message }) => (message.keyHash === null ? [] : [message.keyHash])),
      };
    });
  }

  private show(row: FakeRow, withPayload = false): DeadLetter {
    return { ...recordFrom(row, withPayload), waiting: waitingBehind(row, this.database.rows).length };
  }

  private dead({ ids, type }: DeadLetterFilter): FakeRow[] {
    return this.database.rows.filter(
      ({ status, message }) =>
        status === 'dead_letter' &&
        (ids === undefined || ids.includes(message.id)) &&
        (type === undefined || message.type === type),
    );
  }
}
