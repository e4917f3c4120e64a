import { TransactionAbortedError } from '../core/errors';
import { type StatementRunner } from '../core/statement-runner';
import { type CommitListener } from '../core/transactions.port';
import { runOutside } from './ambient-context';
import { type DirectConnections } from './direct-connections';
import { ASK_STATUS, NO_TRANSACTION, saysNoTransaction } from './mysql/status';
import { type OpenTransaction } from './open-transaction';

/** Sends a statement to the server, past all checks. */
export type Send = (sql: string) => Promise<unknown>;

/** PostgreSQL: a statement was refused because one before it had failed. */
const FAILED_TRANSACTION = '25P02';

/**
 * Stands in front of the outermost COMMIT.
 *
 * Why there, and not in TypeORM's before-commit hook: the hooks of all subscribers run at the same time, and one that
 * awaits something before it publishes would come after our INSERT. COMMIT itself is sent when all of them have ended.
 *
 * On PostgreSQL and MariaDB the INSERT and COMMIT are one round trip: the transaction is as long as without messages, and the
 * lock of a key is held for one trip. Nothing can go wrong by that: the server works in order, and skips COMMIT when the
 * INSERT failed.
 *
 * Crash points. Before the INSERT, or between it and COMMIT: nothing is stored, neither the change nor its messages.
 * COMMIT sent and no answer: both or neither; the caller sees an error, nobody hands over, and if it was both, the
 * rows' lease ends and the resend job takes them. After COMMIT, before the hand-over: the same.
 */
export class CommitGate {
  constructor(
    private readonly listener: CommitListener,
    private readonly connections: DirectConnections,
  ) {}

  /** Writes the messages, commits, hands over. Rejects when the transaction is not committed, whatever the server says. */
  async commit(transaction: OpenTransaction, commit: () => Promise<unknown>, send: Send): Promise<unknown> {
    transaction.assertCommittable();
    if (transaction.suspect) await this.verify(transaction, send);
    transaction.committing = true;
    let committing: Promise<unknown> | undefined;
    try {
      await this.writeMessages(transaction, () => (committing = commit()));
      if (committing === undefined) seal(transaction);
      const answer = await (committing ?? commit());
      this.assertCommitted(transaction);
      return answer;
    } finally {
      // A subscriber of the application's may have thrown after the server's answer; the messages are committed all the same.
      if (transaction.isCommitted) this.handOver(transaction);
      else if (transaction.sealed) transaction.end('rolled back');
    }
  }

  /** Asks MySQL whether the transaction is still open: after some errors (deadlock) it has been rolled back already. */
  async verify(transaction: OpenTransaction, send: Send): Promise<void> {
    if (saysNoTransaction(await send(ASK_STATUS))) {
      transaction.kill(
        'the server had rolled it back, after a statement in it failed (a deadlock does that)',
      );
    }
    transaction.suspect = false;
    transaction.assertAlive();
  }

  /** Again and again until there are none left: somebody may publish while we write. */
  private async writeMessages(transaction: OpenTransaction, commit: () => Promise<unknown>): Promise<void> {
    const { isolation } = transaction;
    for (let batch = transaction.staged.take(); batch.length > 0; batch = transaction.staged.take()) {
      try {
        const statements = this.statementsOn(transaction, commit);
        transaction.batches.push(await this.listener.write(statements, batch, isolation));
      } catch (error) {
        const cause = 'its messages could not be written';
        transaction.kill(cause);
        const abortion = abortionBehind(error);
        throw abortion === null ? error : new TransactionAbortedError(abortion, { cause: error });
      }
    }
  }

  /** What messages are written by. */
  private statementsOn(transaction: OpenTransaction, commit: () => Promise<unknown>): StatementRunner {
    const { runner } = transaction;
    const connection = this.connections.of(runner);
    if (connection === null) return { query: (sql, parameters) => runner.query(sql, parameters) };
    return {
      query: connection.answersAsTypeOrm
        ? (sql, parameters) => {
            transaction.assertAlive();
            return connection.execute(runner, { sql, ...(parameters && { parameters }) });
          }
        : (sql, parameters) => runner.query(sql, parameters),
      ...(connection.executeBefore && {
        finish: (last, proof) => {
          // From here on nobody may join: what is published now would be committed unwritten.
          seal(transaction);
          return connection.executeBefore!(runner, last, commit, proof);
        },
      }),
    };
  }

  private assertCommitted(transaction: OpenTransaction): void {
    if (transaction.isCommitted) return;
    throw new TransactionAbortedError(
      'the server answered COMMIT with ROLLBACK, because a statement in it had failed and its error was swallowed',
    );
  }

  /**
   * Outside: what the dispatcher begins must not carry the transaction of whoever committed. Another library may still point
   * to a connection whose transaction it has opened itself.
   */
  private handOver(transaction: OpenTransaction): void {
    if (transaction.batches.length === 0) return;
    runOutside(transaction.own ? undefined : transaction.runner, () => {
      for (const batch of transaction.batches.splice(0)) this.listener.committed(batch);
    });
  }
}

function seal(transaction: OpenTransaction): void {
  transaction.assertCommittable();
  transaction.sealed = true;
}

/** Why the server took the messages of no transaction, where that is what the error says. */
function abortionBehind(error: unknown): string | null {
  for (let at = error; typeof at === 'object' && at !== null; at = (at as { cause?: unknown }).cause) {
    const { code, driverError } = at as {
      code?: unknown;
      driverError?: { code?: unknown; sqlState?: unknown };
    };
    if (code === FAILED_TRANSACTION || driverError?.code === FAILED_TRANSACTION)
      return 'a statement in it had failed, and its error was swallowed';
    if (driverError?.sqlState === NO_TRANSACTION)
      return 'it was no longer open on the server when its messages were to be written';
  }
  return null;
}
