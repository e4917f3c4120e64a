import type { Clock } from '../../../lib/core/clock';
import type { FakeRow } from './fake-rows';
import { FakeTransaction } from './fake-transaction';

/** What happens before a statement runs: nothing, a wait, or a rejection, which fails the statement. */
export type BeforeStatement = (statement: string) => Promise<void> | void;

/** What several processes share: rows, key locks, a clock, notifications; and faults, for tests to make. */
export class FakeDatabase {
  readonly rows: FakeRow[] = [];
  /** All statements so far, by name. */
  readonly statements: string[] = [];
  /** Called before each statement: to delay, to hold up, or to fail it. */
  before: BeforeStatement = () => undefined;
  /** Called after a statement has taken effect, before its answer arrives. */
  after: BeforeStatement = () => undefined;
  private seq = 0n;
  private readonly locks = new Map<bigint, { owner: FakeTransaction; waiting: (() => void)[] }>();
  private readonly listeners = new Set<() => void>();
  private readonly open = new Set<FakeTransaction>();

  constructor(readonly clock: Clock) {}

  get nowMs(): number {
    return this.clock.wallMs();
  }

  begin(isolation: string | null = null): FakeTransaction {
    const transaction: FakeTransaction = new FakeTransaction((ended) => this.open.delete(ended), isolation);
    this.open.add(transaction);
    return transaction;
  }

  /** Whether an open transaction has written this row: then nobody may be sending it. */
  isInTransaction(id: string): boolean {
    return [...this.open].some(({ rows }) => rows.some(({ message }) => message.id === id));
  }

  row(id: string): FakeRow {
    const found = this.rows.find(({ message }) => message.id === id);
    if (found === undefined) throw new Error(`There is no row ${id}`);
    return found;
  }

  async statement<T>(name: string, run: () => T): Promise<T> {
    this.statements.push(name);
    await this.before(name);
    const result = run();
    await this.after(name);
    return result;
  }

  async lockKey(key: bigint, transaction: FakeTransaction): Promise<void> {
    for (let lock = this.locks.get(key); lock !== undefined; lock = this.locks.get(key)) {
      if (lock.owner === transaction) return;
      const { waiting } = lock;
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
    this.locks.set(key, { owner: transaction, waiting: [] });
    transaction.onEnd(() => {
      const waiting = this.locks.get(key)?.waiting ?? [];
      this.locks.delete(key);
      waiting.forEach((resolve) => resolve());
    });
  }

  nextSeq(): bigint {
    this.seq += 1n;
    return this.seq;
  }

  add(row: FakeRow): FakeRow {
    this.rows.push(row);
    return row;
  }

  remove(rows: readonly FakeRow[]): number {
    for (const row of rows) this.rows.splice(this.rows.indexOf(row), 1);
    return rows.length;
  }

  notifyAll(): void {
    for (const listener of this.listeners) listener();
  }

  onNotify(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }
}
