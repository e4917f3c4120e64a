import {
  type AfterQueryEvent,
  type BeforeQueryEvent,
  type DataSource,
  type EntitySubscriberInterface,
  type QueryRunner,
  type TransactionCommitEvent,
  type TransactionRollbackEvent,
  type TransactionStartEvent,
} from 'typeorm';
import { type CommitListener } from '../core/transactions.port';
import { type EscapedWrites } from './escaped-writes';
import { type HeldRunners } from './held-runner';
import { ASK_STATUS, saysNoTransaction } from './mysql/status';
import { type OpenTransaction } from './open-transaction';
import { type OpenTransactions } from './open-transactions';
import { type Boundary, boundaryOf, briefly, isolationSetBy } from './sql-statements';
import { depthOf, isMysql, restoreDepth } from './typeorm-internals';

/** MySQL and MariaDB: after this one the server has rolled the whole transaction back. */
const DEADLOCK = 1213;

/**
 * Learns from TypeORM what became of each statement. Its hooks are synchronous: in 0.3, `afterQuery` on MySQL is awaited
 * by nobody, and so is `beforeQuery` up to 0.3.20. A hook that throws here refuses the statement; none else throws.
 */
export class OutboxSubscriber implements EntitySubscriberInterface {
  private readonly mysql: boolean;

  constructor(
    private readonly dataSource: DataSource,
    private readonly transactions: OpenTransactions,
    private readonly runners: HeldRunners,
    private readonly escapedWrites: EscapedWrites,
    private readonly listener: CommitListener,
  ) {
    this.mysql = isMysql(dataSource);
  }

  /** First in line, so that no subscriber of the application's, by throwing, keeps the server's answers from us. */
  install(): void {
    this.dataSource.subscribers.unshift(this);
  }

  uninstall(): void {
    const index = this.dataSource.subscribers.indexOf(this);
    if (index >= 0) this.dataSource.subscribers.splice(index, 1);
  }

  beforeTransactionStart({ queryRunner }: TransactionStartEvent): void {
    if (queryRunner === undefined || depthOf(queryRunner) > 0) return;
    const before = this.transactions.forget(queryRunner);
    if (before?.outcome !== 'open' || before.staged.unwritten.length === 0) return;
    this.listener.lost(
      before.staged.unwritten,
      'a new transaction was begun on its connection without ending this one',
    );
  }

  beforeTransactionCommit({ queryRunner }: TransactionCommitEvent): void {
    if (queryRunner !== undefined && depthOf(queryRunner) <= 1) this.runners.expectCommit(queryRunner);
  }

  beforeTransactionRollback({ queryRunner }: TransactionRollbackEvent): void {
    if (queryRunner === undefined || depthOf(queryRunner) > 1) return;
    const transaction = this.transactions.find(queryRunner);
    if (transaction !== undefined) transaction.rollingBack = true;
  }

  afterTransactionRollback({ queryRunner }: TransactionRollbackEvent): void {
    // TypeORM 0.3.20 counts a COMMIT that failed, and then its ROLLBACK: the next transaction would become a savepoint.
    if (queryRunner !== undefined && depthOf(queryRunner) < 0) restoreDepth(queryRunner, 0);
  }

  beforeQuery({ query, queryRunner }: BeforeQueryEvent): void {
    if (queryRunner === undefined) return;
    const isolation = isolationSetBy(query);
    if (isolation !== null && queryRunner.isTransactionActive) this.onIsolation(queryRunner, isolation);
    this.escapedWrites.check(queryRunner, query);
  }

  afterQuery({ query, queryRunner, success, error, rawResults }: AfterQueryEvent): void {
    if (queryRunner === undefined) return;
    if (!success) {
      this.onFailure(queryRunner, query, error);
      return;
    }
    const boundary = boundaryOf(query);
    const transaction = this.transactions.find(queryRunner);
    if (transaction?.outcome === 'open') this.onSuccess(transaction, boundary, rawResults);
    if (this.mysql && endsUnseen(boundary) && saysNoTransaction(rawResults))
      this.onUnseenEnd(queryRunner, query);
  }

  private onIsolation(runner: QueryRunner, isolation: string): void {
    const isNew = this.transactions.find(runner) === undefined;
    const transaction = this.transactions.of(runner);
    transaction.isolation = isolation;
    if (isNew && this.mysql) transaction.begun = false;
  }

  private onFailure(runner: QueryRunner, query: string, error: unknown): void {
    // PostgreSQL needs no such care: there, every statement after a failed one fails as well.
    if (!this.mysql || depthOf(runner) === 0 || boundaryOf(query)?.kind === 'rollback') return;
    const transaction = this.transactions.of(runner);
    transaction.suspect = true;
    if ((error as { errno?: unknown } | undefined)?.errno === DEADLOCK) {
      transaction.kill('the server had rolled it back because of a deadlock, and that error was swallowed');
    }
  }

  private onSuccess(transaction: OpenTransaction, boundary: Boundary | null, answer: unknown): void {
    switch (boundary?.kind) {
      case 'commit':
        transaction.end(commandOf(answer) === 'ROLLBACK' ? 'rolled back' : 'committed');
        break;
      case 'rollback':
        transaction.end('rolled back');
        break;
      case 'begin':
        transaction.begun = true;
        break;
      case 'savepoint':
        transaction.staged.setSavepoint(boundary.name);
        break;
      case 'release':
        transaction.staged.release(boundary.name);
        break;
      case 'rollbackTo':
        transaction.staged.rollBackTo(boundary.name);
        transaction.rollbacksToSavepoint += 1;
        // The savepoint was still there, so the transaction is.
        transaction.suspect = false;
        break;
      case undefined:
        break;
    }
  }

  /** MySQL says after a statement whether a transaction is open. Where TypeORM believes in one, there must be. */
  private onUnseenEnd(runner: QueryRunner, query: string): void {
    if (!runner.isTransactionActive || depthOf(runner) === 0 || query === ASK_STATUS) return;
    const transaction = this.transactions.of(runner);
    if (!transaction.begun) return;
    transaction.kill(
      `it was no longer open on the server after ${briefly(query)}, which may be stored by itself`,
    );
  }
}

/** Whether there has to be a transaction after it, if there was one before. */
function endsUnseen(boundary: Boundary | null): boolean {
  return boundary?.kind !== 'commit' && boundary?.kind !== 'rollback' && boundary?.kind !== 'begin';
}

/** PostgreSQL's command tag: what was really done. */
function commandOf(answer: unknown): unknown {
  return (answer as { command?: unknown } | null | undefined)?.command;
}
