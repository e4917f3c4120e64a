import { isDeepStrictEqual } from 'node:util';
import type { QueryRunner } from 'typeorm';
import type { StagedMessage } from '../../lib/core/message';
import type { MessageStatus } from '../../lib/core/message-status';
import type { DeadLetterStore } from '../../lib/core/dead-letter-store.port';
import type { OutboxStore, WrittenMessage } from '../../lib/core/outbox-store.port';
import { type StoreFixture, message, waitsForLock } from '../contracts/outbox-store.harness';
import { Ledger, type Seen } from './ledger';
import type { Model } from './model';
import { byKey, type Picture } from './picture';
import { type Draft, type OpenTransaction, TICK_MS } from './row';

/** Transactions that a test may have open at a time; the pool has room for them and for its own look at the table. */
export const OPEN_MAX = 3;

interface Session {
  readonly runner: QueryRunner;
  writing?: Promise<readonly WrittenMessage[]>;
  /** Time that passed since its INSERT: its rows are out of reach until the commit. */
  owedTicks: number;
}

/** The real thing: a database, the stores on it, and transactions as an application would have them open. */
export class System {
  readonly ledger: Ledger;
  private readonly sessions = new Map<string, Session>();

  private constructor(
    private readonly fixture: StoreFixture,
    onDeadLetter: 'park' | 'skip',
  ) {
    this.ledger = new Ledger(onDeadLetter);
  }

  static async start(fixture: StoreFixture, onDeadLetter: 'park' | 'skip'): Promise<System> {
    await fixture.clear();
    // A sweep that finds nothing makes the next one begin anew.
    await fixture.stores.outbox.sweep(1);
    return new System(fixture, onDeadLetter);
  }

  get outbox(): OutboxStore {
    return this.fixture.stores.outbox;
  }

  get deadLetters(): DeadLetterStore {
    return this.fixture.stores.deadLetters;
  }

  async begin({ name, isolation }: OpenTransaction): Promise<void> {
    const runner = await this.fixture.begin(isolation ?? undefined);
    this.sessions.set(name, { runner, owedTicks: 0 });
    // A statement of the business, which is what fixes the snapshot of a stricter isolation.
    await runner.query(`SELECT count(*) FROM ${this.fixture.names.inbox}`);
  }

  /** Sends the INSERT, and does not wait for it. */
  write({ name, isolation, birthLeaseTicks, staged }: OpenTransaction): void {
    const session = this.session(name);
    const birth = { token: name, owner: 'test', leaseMs: birthLeaseTicks * TICK_MS, isolation };
    session.writing = this.outbox.write(session.runner, staged.map(toMessage), birth);
    // It is awaited later; until then a failure is nobody's.
    session.writing.catch(() => undefined);
  }

  async written({ name }: OpenTransaction): Promise<readonly WrittenMessage[]> {
    return (await this.session(name).writing) ?? [];
  }

  /** Whether its INSERT waits for a lock. */
  waits({ name }: OpenTransaction): Promise<boolean> {
    return waitsForLock(this.fixture, this.session(name).writing ?? Promise.resolve());
  }

  async commit({ name, rows }: OpenTransaction): Promise<void> {
    const { runner, owedTicks } = this.session(name);
    await runner.commitTransaction();
    await this.release(name);
    if (owedTicks > 0) await this.fixture.elapse(owedTicks * TICK_MS, ...rows.map(({ id }) => id));
  }

  async rollback({ name }: OpenTransaction): Promise<void> {
    await this.session(name).runner.rollbackTransaction();
    await this.release(name);
  }

  /** The database's clock cannot be moved, so all times in the table move into the past. */
  async pass(ticks: number, model: Model): Promise<void> {
    for (const { name, phase } of model.open) if (phase === 'written') this.session(name).owedTicks += ticks;
    const ids = [...model.committed.keys()];
    if (ids.length > 0) await this.fixture.elapse(ticks * TICK_MS, ...ids);
  }

  /** Holds the table against the model. */
  async agree(model: Model): Promise<void> {
    const table = await this.look();
    this.ledger.look(table);
    const expected = model.rows().map((row) => ({
      ...row,
      nextIn: model.ticksUntil(row.nextAt),
      expiresIn: row.expiresAt === null ? null : model.ticksUntil(row.expiresAt),
    }));
    const [seen, meant] = [byKey(table), byKey(expected)];
    // The matcher explains well, and takes its time.
    if (!isDeepStrictEqual(seen, meant)) expect(seen).toEqual(meant);
  }

  async look(): Promise<(Seen & Picture)[]> {
    const { names, query, database } = this.fixture;
    const postgres = database.type === 'postgres';
    const ticks = (column: string): string =>
      postgres
        ? `ceil(extract(epoch FROM ${column} - clock_timestamp()) * 1000 / ${TICK_MS})::float8`
        : `CEIL(TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), ${column}) / 1000 / ${TICK_MS})`;
    const rows = (await query(
      `SELECT id, ${postgres ? '"key"' : '`key`'} AS name, CAST(seq AS ${postgres ? 'text' : 'char'}) AS seq,
         status, attempts, claims, claim_token AS token, ${ticks('next_attempt_at')} AS next_in,
         ${ticks('expires_at')} AS expires_in FROM ${names.message} ORDER BY ${names.message}.seq`,
    )) as Record<string, string | number | null>[];
    return rows.map((row) => ({
      id: String(row.id),
      key: row.name as string | null,
      seq: BigInt(row.seq ?? 0),
      status: row.status as MessageStatus,
      attempts: Number(row.attempts),
      claims: Number(row.claims),
      token: row.token as string | null,
      // Adding 0 makes a 0 of a -0.
      nextIn: Number(row.next_in) + 0,
      expiresIn: row.expires_in === null ? null : Number(row.expires_in) + 0,
    }));
  }

  /** Ends what is left open. */
  async end(): Promise<void> {
    // At once: one that waits for another ends when that one has.
    await Promise.all(
      [...this.sessions].map(async ([name, { runner }]) => {
        if (runner.isTransactionActive) await runner.rollbackTransaction();
        await this.release(name);
      }),
    );
  }

  private async release(name: string): Promise<void> {
    await this.session(name).runner.release();
    this.sessions.delete(name);
  }

  private session(name: string): Session {
    const session = this.sessions.get(name);
    if (session === undefined) throw new Error(`There is no transaction ${name}`);
    return session;
  }
}

function toMessage({ id, transport, key, delayTicks, expiresInTicks }: Draft): StagedMessage {
  const delayMs = delayTicks * TICK_MS;
  const expiresInMs = expiresInTicks === null ? null : expiresInTicks * TICK_MS;
  return message({ id, transport, key, delayMs, expiresInMs });
}
