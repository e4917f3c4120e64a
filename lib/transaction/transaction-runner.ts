import { Logger } from '@nestjs/common';
import { type DataSource, type QueryRunner } from 'typeorm';
import { type Clock } from '../core/clock';
import {
  ConnectionExhaustedError,
  TransactionAbortedError,
  TransactionEndedError,
  TransactionPropagationError,
  TransactionRollbackOnlyError,
  describeError,
} from '../core/errors';
import { type IsolationLevel } from '../core/transactions.port';
import { ambientScope, runInScope } from './ambient-context';
import { type DirectConnection } from './direct/direct-connection';
import { COMMIT, commit } from './direct/direct-transaction';
import { type DirectConnections } from './direct-connections';
import { type HeldRunners } from './held-runner';
import { routeTransaction } from './manager-accessor';
import { type OpenTransaction, TransactionScope } from './open-transaction';
import { type OpenTransactions } from './open-transactions';
import { depthOf, destroyConnection, restoreDepth } from './typeorm-internals';

const COMMITTING = { sql: COMMIT, columns: [] };

type Work<T> = () => Promise<T>;

export interface OpenOptions {
  readonly name: string;
  readonly isolation: IsolationLevel | undefined;
  /** How long to wait for the connection; null for as long as the pool lets us. */
  readonly waitMs: number | null;
}

/** Opens transactions and savepoints around work, and ends them as the work ends. */
export class TransactionRunner {
  private readonly logger = new Logger('OutboxTransactions');

  constructor(
    private readonly dataSource: DataSource,
    private readonly transactions: OpenTransactions,
    private readonly runners: HeldRunners,
    private readonly connections: DirectConnections,
    private readonly clock: Clock,
    /** What `manager.transaction()` does on a transaction's own manager. */
    private readonly route: (runner: QueryRunner) => Parameters<typeof routeTransaction>[1],
  ) {}

  /** Runs work in a transaction of its own, on a connection of its own. */
  async open<T>({ name, isolation, waitMs }: OpenOptions, work: Work<T>): Promise<T> {
    const runner = this.dataSource.createQueryRunner();
    if (waitMs !== null) await this.connectWithin(runner, name, waitMs);
    let transaction: OpenTransaction | undefined;
    let connection: DirectConnection | null = null;
    try {
      await runner.connect();
      connection = this.connections.of(runner);
      if (connection !== null && !this.setsIsolation(isolation)) await connection.begin(runner);
      else await runner.startTransaction(isolation);
      transaction = this.transactions.open(runner, name);
      this.runners.hold(transaction);
      routeTransaction(runner.manager, this.route(runner));
      const result = await runInScope(this.dataSource, transaction.root, work);
      transaction.root.end();
      await this.commit(transaction, connection);
      return result;
    } catch (error) {
      transaction?.root.end();
      await this.rollBack(runner);
      throw error;
    } finally {
      connection?.dropBegin();
      await runner.release();
    }
  }

  /** Runs work in a savepoint of the scope's transaction. Siblings wait for each other. */
  async nest<T>(parent: TransactionScope, name: string, work: Work<T>): Promise<T> {
    const { transaction } = parent;
    const { runner } = transaction;
    const giveTurnBack = await parent.takeTurn();
    try {
      if (parent.hasEnded) throw new TransactionEndedError(parent.name);
      const outerDepth = depthOf(runner);
      await this.startSavepoint(runner, outerDepth);
      const scope = new TransactionScope(transaction, name, transaction.staged.depth, parent);
      const before = transaction.innermost;
      transaction.innermost = scope;
      try {
        const result = await runInScope(this.dataSource, scope, work);
        scope.end();
        const failure = transaction.staged.failureFrom(scope.depth);
        if (failure !== null) throw new TransactionRollbackOnlyError(name, { cause: failure.error });
        if (transaction.hasEnded) throw new TransactionEndedError(transaction.name);
        await runner.commitTransaction();
        return result;
      } catch (error) {
        scope.end();
        await this.undoSavepoint(scope, parent, outerDepth, error);
        throw error;
      } finally {
        transaction.innermost = before;
      }
    } finally {
      giveTurnBack();
    }
  }

  /** Runs work in the scope as a part of it: its failure forbids the commit, even when somebody catches it. */
  async join<T>(scope: TransactionScope, work: Work<T>): Promise<T> {
    const { transaction } = scope;
    try {
      return await (ambientScope(this.dataSource) === scope
        ? work()
        : runInScope(this.dataSource, scope, work));
    } catch (error) {
      // In the innermost scope, hand-written savepoints within it count as well.
      const { staged } = transaction;
      if (!transaction.hasEnded)
        staged.fail(error, scope === transaction.innermost ? staged.depth : scope.depth);
      throw error;
    }
  }

  /** Then there is a statement more in front, and TypeORM knows which levels there are. From 1.0 on, a data source has one. */
  private setsIsolation(isolation: IsolationLevel | undefined): boolean {
    const { isolationLevel } = this.dataSource.options as { isolationLevel?: unknown };
    return (isolation ?? isolationLevel) !== undefined;
  }

  private async commit(transaction: OpenTransaction, connection: DirectConnection | null): Promise<void> {
    const { runner } = transaction;
    if (transaction.isCommitted) return;
    if (transaction.outcome === 'rolled back')
      throw new TransactionAbortedError('the work in it had rolled it back by hand');
    try {
      if (connection === null) await runner.commitTransaction();
      else await commit(runner, () => this.runners.sendOn(transaction, connection, COMMITTING));
    } catch (error) {
      if (!transaction.isCommitted) throw error;
      // A subscriber's after-commit hook threw. An error here would make the caller do again what is done.
      this.logger.error(
        `A subscriber failed after the commit of ${transaction.name}: ${describeError(error)}`,
      );
    }
    // A savepoint was still open, or began in the same moment: TypeORM releases that one instead of committing.
    if (!transaction.isCommitted) throw stillNested(transaction);
  }

  /** Rolls back whatever is open, in one statement. If that fails, the connection must not be used again. */
  private async rollBack(runner: QueryRunner): Promise<void> {
    if (depthOf(runner) < 1 && !runner.isTransactionActive) return;
    try {
      restoreDepth(runner, 1);
      await runner.rollbackTransaction();
    } catch (error) {
      if (runner.isTransactionActive) await destroyConnection(runner, error as Error);
    }
  }

  private async startSavepoint(runner: QueryRunner, outerDepth: number): Promise<void> {
    try {
      await runner.startTransaction();
    } catch (error) {
      // TypeORM may then take the whole transaction for closed, and nobody would roll it back.
      restoreDepth(runner, outerDepth);
      throw error;
    }
  }

  /** Judges by what the server has confirmed: TypeORM's count of savepoints is wrong after a failure. */
  private async undoSavepoint(
    scope: TransactionScope,
    parent: TransactionScope,
    outerDepth: number,
    error: unknown,
  ): Promise<void> {
    const { transaction } = scope;
    const { runner, staged } = transaction;
    if (transaction.hasEnded) return;
    if (staged.depth < scope.depth) {
      // Released already, then an after-hook threw: its changes are in, and its caller believes they are not.
      staged.fail(error, parent.depth);
      return;
    }
    const before = transaction.rollbacksToSavepoint;
    try {
      restoreDepth(runner, outerDepth + 1);
      await runner.rollbackTransaction();
    } catch (rollbackError) {
      restoreDepth(runner, outerDepth);
      // An after-hook may have thrown; then the savepoint is rolled back all the same.
      if (transaction.rollbacksToSavepoint > before) return;
      transaction.kill(`a savepoint in it could not be rolled back (${describeError(rollbackError)})`);
    }
  }

  private async connectWithin(runner: QueryRunner, name: string, waitMs: number): Promise<void> {
    const connecting: Promise<unknown> = runner.connect();
    await new Promise<void>((resolve, reject) => {
      const cancel = this.clock.after(waitMs, () => {
        // The pool still owes us a connection; it goes back the moment it comes.
        connecting.then(() => runner.release()).catch(() => undefined);
        reject(new ConnectionExhaustedError(name, waitMs));
      });
      connecting.then(
        () => {
          cancel();
          resolve();
        },
        (error: unknown) => {
          cancel();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
          reject(error);
        },
      );
    });
  }
}

function stillNested({ name }: OpenTransaction): TransactionPropagationError {
  return new TransactionPropagationError(
    `The transaction ${name} was rolled back: its work had ended, and a nested transaction in it was still open. Await ` +
      `every nested transaction, and end those that you begin by hand.`,
  );
}
