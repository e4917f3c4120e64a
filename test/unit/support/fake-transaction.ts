import type { StatementRunner } from '../../../lib/core/statement-runner';
import type { FakeRow } from './fake-rows';

/** A transaction of the application on the fake database: what is written in it is seen when it is committed. */
export class FakeTransaction implements StatementRunner {
  readonly rows: FakeRow[] = [];
  private readonly unlocks: (() => void)[] = [];

  constructor(
    private readonly ended: (transaction: FakeTransaction) => void,
    readonly isolation: string | null = null,
  ) {}

  query(sql: string): Promise<never> {
    return Promise.reject(new Error(`The fake database speaks no SQL: ${sql}`));
  }

  /** Called when the transaction ends. */
  onEnd(unlock: () => void): void {
    this.unlocks.push(unlock);
  }

  commit(): void {
    for (const row of this.rows) row.committed = true;
    this.end();
  }

  rollback(): void {
    this.rows.length = 0;
    this.end();
  }

  private end(): void {
    for (const unlock of this.unlocks.splice(0)) unlock();
    this.ended(this);
  }
}
