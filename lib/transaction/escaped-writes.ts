import { type DataSource, type QueryRunner } from 'typeorm';
import { EscapedWriteError } from '../core/errors';
import { type CommitListener } from '../core/transactions.port';
import { ambientScope } from './ambient-context';
import { type OpenTransactions } from './open-transactions';
import { briefly, isWrite } from './sql-statements';

/** Different statements reported of one transaction; a loop of hand-made ones must not fill the memory. */
const REPORTS_MAX = 100;

/**
 * Finds writes inside a transactional method that go to another connection of the same data source: those stay when the
 * transaction is rolled back. The relay's own store has another data source, so it is never met here.
 */
export class EscapedWrites {
  constructor(
    private readonly dataSource: DataSource,
    private readonly mode: 'log' | 'error' | 'ignore',
    private readonly transactions: Pick<OpenTransactions, 'find'>,
    private readonly listener: CommitListener,
  ) {}

  /** Called before each statement of each connection. Throws in mode `error`. */
  check(runner: QueryRunner, sql: string): void {
    if (this.mode === 'ignore') return;
    const scope = ambientScope(this.dataSource);
    if (scope === undefined || scope.transaction.runner === runner || scope.hasEnded || !isWrite(sql)) return;
    const target = this.transactions.find(runner);
    // A transaction of ours that was begun in here on purpose (requiresNew), and messages that are just being written.
    if (target?.outcome === 'open' && (target.own || target.committing)) return;
    const { name, escapedWrites } = scope.transaction;
    const query = briefly(sql);
    if (!escapedWrites.has(query) && escapedWrites.size < REPORTS_MAX) {
      escapedWrites.add(query);
      this.listener.escaped(query, name);
    }
    if (this.mode === 'error') throw new EscapedWriteError(name, query);
  }
}
