import { createHash, randomUUID } from 'node:crypto';
import { DataSource, type QueryRunner } from 'typeorm';
import { type CancelTimer, type Clock, systemClock } from '../../lib/core/clock';
import type { StagedMessage } from '../../lib/core/message';
import type { Birth, ClaimTerms } from '../../lib/core/outbox-store.port';
import type { IsolationLevel } from '../../lib/core/transactions.port';
import { createStores, type Stores } from '../../lib/store/create-stores';
import { outboxMigrations } from '../../lib/store/migrations';
import { type TableNames, resolveTableNames } from '../../lib/store/table-names';
import { type TestDatabase, type TestDatabaseType, createTestDatabase } from '../support/shared-servers';
import { lockWaits } from '../support/lock-waits';
import { waitFor } from '../support/wait-for';

export interface StoreFixture {
  readonly database: TestDatabase;
  readonly dataSource: DataSource;
  readonly stores: Stores;
  readonly names: TableNames;
  /** The stores' clock. `elapse` puts it forward. */
  readonly clock: ElapsingClock;
  /** Begins a transaction as an application would, by a query runner of its own pool. */
  begin(isolation?: IsolationLevel): Promise<QueryRunner>;
  /** Writes the messages in a transaction, and commits. */
  publish(messages: StagedMessage[], birth?: Partial<Birth>, isolation?: IsolationLevel): Promise<void>;
  /** One row as the table has it. */
  row(id: string): Promise<Record<string, unknown>>;
  /** Makes that many milliseconds pass for all rows, or for some: moves their times into the past. */
  elapse(milliseconds: number, ...ids: string[]): Promise<void>;
  query(sql: string, parameters?: unknown[]): Promise<unknown>;
  /** Empties the tables. */
  clear(): Promise<void>;
  drop(): Promise<void>;
}

export interface FixtureOptions {
  onDeadLetter?: 'park' | 'skip';
  isolation?: IsolationLevel;
  clock?: Clock;
  /** Stores of other options on a fixture's database; close them yourself, and leave the dropping to that fixture. */
  on?: StoreFixture;
}

/** A clock that time can be added to: as the database's cannot be moved, its rows are moved, and this goes along. */
class ElapsingClock implements Clock {
  private elapsedMs = 0;

  constructor(private readonly clock: Clock) {}

  elapse(milliseconds: number): void {
    this.elapsedMs += milliseconds;
  }

  monotonicMs(): number {
    return this.clock.monotonicMs() + this.elapsedMs;
  }

  wallMs(): number {
    return this.clock.wallMs();
  }

  after(delayMs: number, callback: () => void): CancelTimer {
    return this.clock.after(delayMs, callback);
  }
}

/** An application's data source with our migrations, and the stores on it. */
export async function openStores(
  type: TestDatabaseType,
  options: FixtureOptions = {},
): Promise<StoreFixture> {
  const database = options.on?.database ?? (await createTestDatabase(type));
  const dataSource =
    options.on?.dataSource ??
    (await new DataSource({
      type,
      url: database.url,
      migrations: outboxMigrations(),
      migrationsRun: true,
      poolSize: 5,
      // A test that fails with a lock in its hands must not hang its suite.
      ...(type === 'postgres' ? { extra: { options: '-c lock_timeout=20s' } } : {}),
    }).initialize());
  const clock = options.on?.clock ?? new ElapsingClock(options.clock ?? systemClock);
  const stores = createStores({ dataSource, onDeadLetter: options.onDeadLetter, clock });
  const names = resolveTableNames(dataSource);
  const usual = options.isolation;

  async function begin(isolation = usual): Promise<QueryRunner> {
    const runner = dataSource.createQueryRunner();
    await runner.startTransaction(isolation);
    return runner;
  }
  async function publish(
    messages: StagedMessage[],
    birth: Partial<Birth> = {},
    isolation = usual,
  ): Promise<void> {
    const runner = await begin(isolation);
    try {
      await stores.outbox.write(runner, messages, born({ isolation: isolation ?? null, ...birth }));
      await runner.commitTransaction();
    } catch (error) {
      await runner.rollbackTransaction();
      throw error;
    } finally {
      await runner.release();
    }
  }
  const query = (sql: string, parameters?: unknown[]): Promise<unknown> =>
    dataSource.query(sql, parameters as never[]);
  return {
    database,
    dataSource,
    stores,
    names,
    begin,
    publish,
    query,
    async row(id) {
      const rows = (await query(`SELECT * FROM ${names.message} WHERE id = '${id}'`)) as Record<
        string,
        unknown
      >[];
      if (rows[0] === undefined) throw new Error(`There is no row ${id}`);
      return rows[0];
    },
    clock,
    async elapse(milliseconds, ...ids) {
      clock.elapse(milliseconds);
      const before = (column: string): string =>
        type === 'postgres'
          ? `${column} = ${column} - ${milliseconds} * interval '1 millisecond'`
          : `${column} = ${column} - INTERVAL ${milliseconds * 1000} MICROSECOND`;
      const columns = [
        'next_attempt_at',
        'available_at',
        'expires_at',
        'created_at',
        'finished_at',
        'dead_at',
        'alarm_due_at',
      ];
      const where = ids.length === 0 ? '' : ` WHERE id IN ('${ids.join("', '")}')`;
      // By a scan, MariaDB would wait for rows of open transactions.
      const index = type === 'mysql' && ids.length > 0 ? ' FORCE INDEX (PRIMARY)' : '';
      await query(`UPDATE ${names.message}${index} SET ${columns.map(before).join(', ')}${where}`);
    },
    async clear() {
      await query(`DELETE FROM ${names.message}`);
      await query(`DELETE FROM ${names.inbox}`);
    },
    async drop() {
      await stores.close();
      await dataSource.destroy();
      await database.drop();
    },
  };
}

export function message(more: Partial<StagedMessage> = {}): StagedMessage {
  const key = more.key ?? null;
  return {
    id: randomUUID(),
    type: 'order.placed',
    transport: 'default',
    destination: 'shop/order.placed',
    key,
    keyHash: key === null ? null : hashOf(key),
    tenant: null,
    source: 'shop',
    payload: Buffer.from('{"orderId":"1"}'),
    contentType: 'application/json',
    contentEncoding: null,
    schemaVersion: null,
    headers: {},
    delayMs: 0,
    expiresInMs: null,
    ...more,
  };
}

export function hashOf(key: string): bigint {
  return createHash('sha256').update(key).digest().readBigInt64BE(0);
}

export function born(more: Partial<Birth> = {}): Birth {
  return { token: randomUUID(), owner: 'test', leaseMs: 0, isolation: null, ...more };
}

export function terms(more: Partial<ClaimTerms> = {}): ClaimTerms {
  return { token: randomUUID(), owner: 'relay', leaseMs: 30_000, claimsMax: 5, ...more };
}

/** Whether a promise is still open because somebody waits for a lock. */
export async function waitsForLock(fixture: StoreFixture, promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(
    () => (settled = true),
    () => (settled = true),
  );
  return waitFor(
    async () => {
      if (settled) return { waits: false };
      const waits = (await lockWaits(fixture.database.type, fixture.query)) > 0;
      return waits ? { waits: !settled } : undefined;
    },
    { what: 'the promise to settle, or somebody to wait for a lock' },
  ).then(({ waits }) => waits);
}
