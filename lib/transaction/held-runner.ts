import { type DataSource, type QueryRunner } from 'typeorm';
import { TransactionEndedError, TransactionPropagationError } from '../core/errors';
import { type StatementRunner } from '../core/statement-runner';
import { type CommitListener } from '../core/transactions.port';
import { ambientScope } from './ambient-context';
import { type CommitGate } from './commit-gate';
import { type DirectConnection, type DirectStatement } from './direct/direct-connection';
import { type DirectConnections } from './direct-connections';
import { type OpenTransaction, type TransactionScope } from './open-transaction';
import { type OpenTransactions } from './open-transactions';
import { type Boundary, boundaryOf, briefly, commitsImplicitly, isWrite } from './sql-statements';
import { isMysql } from './typeorm-internals';

type Query = QueryRunner['query'];

/**
 * Watches the statements of one connection whose transaction matters to us, by own properties `query` and `release` on
 * that one object: hooks cannot hold a statement back (up to TypeORM 0.3.20 `beforeQuery` is not awaited), nor see a
 * release.
 *
 * What it refuses, and why before the server sees it: a statement of code that outlived its scope (it would be
 * autocommitted, or undone, unseen); any statement after the server has undone the transaction (autocommitted, too); a
 * write of an outer scope while a savepoint is open (undone with it, unseen); a hand-written BEGIN or COMMIT, and on
 * MySQL whatever commits implicitly (the change would be stored without its messages).
 */
export class HeldRunners {
  /** Marks of a connection, on its runner: weak sets would cost the garbage collector more than all else here. */
  private readonly held = Symbol('outbox watches');
  /** TypeORM, and nobody's string, is about to send COMMIT. */
  private readonly committing = Symbol('outbox expects COMMIT');
  private readonly mysql: boolean;

  constructor(
    private readonly dataSource: DataSource,
    private readonly gate: CommitGate,
    private readonly listener: CommitListener,
    private readonly transactions: Pick<OpenTransactions, 'find'>,
    private readonly connections: DirectConnections,
  ) {
    this.mysql = isMysql(dataSource);
  }

  /** TypeORM begins to commit the outermost transaction of the connection. */
  expectCommit(runner: QueryRunner): void {
    marksOf(runner)[this.committing] = true;
  }

  /** Watches the transaction from now on, and its connection until that is released. */
  hold(transaction: OpenTransaction): void {
    transaction.matters = true;
    const { runner } = transaction;
    const marks = marksOf(runner);
    if (marks[this.held]) return;
    marks[this.held] = true;
    const query = runner.query.bind(runner) as (...args: unknown[]) => Promise<unknown>;
    const release = runner.release.bind(runner);
    runner.query = ((...args: [sql: string, ...rest: unknown[]]) =>
      this.pass(runner, args[0], () => query(...args), query)) as Query;
    runner.release = () => {
      this.reportLost(runner);
      return release();
    };
  }

  /** The statements of whoever works in this transaction, with all checks. The same object each time. */
  statementsOn(transaction: OpenTransaction): StatementRunner {
    this.hold(transaction);
    const { runner } = transaction;
    const connection = this.connections.of(runner);
    if (connection === null) return runner;
    return (transaction.statements ??= {
      query: connection.answersAsTypeOrm
        ? (sql, parameters) =>
            this.sendOn(transaction, connection, { sql, ...(parameters && { parameters }) })
        : (sql, parameters) => runner.query(sql, parameters),
      execute: (statement) => this.sendOn(transaction, connection, statement),
    });
  }

  /** Sends a statement past TypeORM's `query`, with all checks. */
  sendOn(
    transaction: OpenTransaction,
    connection: DirectConnection,
    statement: DirectStatement,
  ): Promise<unknown> {
    const { runner } = transaction;
    const send = (): Promise<unknown> => connection.execute(runner, statement);
    return this.pass(runner, statement.sql, send, (sql) => runner.query(sql));
  }

  private pass(
    runner: QueryRunner,
    sql: string,
    send: () => Promise<unknown>,
    sendOther: (sql: string) => Promise<unknown>,
  ): Promise<unknown> {
    const transaction = this.transactions.find(runner);
    const scope = this.scopeOn(runner);
    if (scope?.hasEnded) return Promise.reject(new TransactionEndedError(scope.name));
    if (!transaction?.matters || transaction.outcome !== 'open') return send();
    const boundary = boundaryOf(sql);
    if (boundary?.kind === 'rollback' || boundary?.kind === 'rollbackTo') return send();
    if (boundary?.kind === 'commit' && marksOf(runner)[this.committing]) {
      marksOf(runner)[this.committing] = false;
      return this.gate.commit(transaction, send, sendOther);
    }
    try {
      this.assertAllowed(transaction, scope, sql, boundary);
    } catch (error) {
      return Promise.reject(error as Error); // eslint-disable-line @typescript-eslint/no-unnecessary-type-assertion
    }
    if (!transaction.suspect || transaction.committing) return send();
    return this.gate.verify(transaction, sendOther).then(send);
  }

  private assertAllowed(
    transaction: OpenTransaction,
    scope: TransactionScope | undefined,
    sql: string,
    boundary: Boundary | null,
  ): void {
    transaction.assertAlive();
    if (transaction.sealed) throw new TransactionEndedError(transaction.name);
    const raw = boundary?.kind === 'commit' || (boundary?.kind === 'begin' && transaction.begun);
    if (raw || (this.mysql && boundary === null && commitsImplicitly(sql))) {
      throw new TransactionPropagationError(
        `${briefly(sql)} was refused: it would end the transaction ${transaction.name} behind the outbox's back, and store ` +
          `its changes without its messages. Use queryRunner.startTransaction() and commitTransaction(); ` +
          `and run statements that commit implicitly (TRUNCATE, DDL) outside: outbox.outside(() => …).`,
      );
    }
    if (scope !== undefined && boundary === null) {
      assertInnermost(
        scope,
        () => isWrite(sql),
        () => briefly(sql),
      );
    }
  }

  /** The ambient scope, if it is one of this connection's transaction. */
  private scopeOn(runner: QueryRunner): TransactionScope | undefined {
    const scope = ambientScope(this.dataSource);
    return scope?.transaction.runner === runner ? scope : undefined;
  }

  private reportLost(runner: QueryRunner): void {
    const transaction = this.transactions.find(runner);
    if (transaction === undefined || transaction.outcome !== 'open') return;
    const { staged, rollingBack, committing, dead } = transaction;
    transaction.end('rolled back');
    // In the other cases the caller has asked for the rollback, or was told by an error.
    if (rollingBack || committing || dead || staged.unwritten.length === 0) return;
    this.listener.lost(
      staged.unwritten,
      'its connection was released with the transaction neither committed nor rolled back',
    );
  }
}

function marksOf(runner: QueryRunner): Record<symbol, boolean | undefined> {
  return runner as unknown as Record<symbol, boolean | undefined>;
}

/** Refuses what an outer scope does while a savepoint is open in it: that savepoint's rollback would undo it, unseen. */
export function assertInnermost(scope: TransactionScope, applies: () => boolean, what: () => string): void {
  const { innermost, name } = scope.transaction;
  if (scope === innermost || !applies()) return;
  throw new TransactionPropagationError(
    `${what()} was refused in ${name === scope.name ? name : `${scope.name} (in ${name})`}: the nested transaction ` +
      `${innermost.name} is open at the same time on the same connection, and its rollback would undo this, too. ` +
      `Await the nested transaction first, or give it propagation: 'requiresNew'.`,
  );
}
