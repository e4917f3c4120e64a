import { QueryFailedError, type QueryRunner } from 'typeorm';
import { type Statement } from '../../core/statement-runner';
import { type Outcome, after, before } from '../direct/around-statement';
import { type DirectConnection, type DirectStatement } from '../direct/direct-connection';
import { COMMIT } from '../direct/direct-transaction';
import { takeNextQuery } from '../direct/next-query';
import { type MysqlCallback, type MysqlClient, type MysqlHeader } from './client';
import { CommitBlock } from './commit-block';
import { MysqlConnection } from './mysql-connection';
import { ASK_STATUS, saysNoTransaction } from './status';

/** KILL QUERY, and `max_statement_time`. */
const INTERRUPTED: ReadonlySet<unknown> = new Set([1317, 1969]);

type Answers = ReturnType<CommitBlock['answersOf']>;

/**
 * MariaDB takes the last statements of a transaction together with COMMIT, see `CommitBlock`.
 *
 * One thing is otherwise than with a COMMIT by itself: who is interrupted just after COMMIT has done its work, and before the
 * block has ended, is told so as an error. So the server is asked whether the transaction is still open. Where it is not, the
 * block had come to COMMIT, which was through or was itself interrupted and has undone all: then it is asked whether what was
 * written is there. It is nobody else's: the INSERT has succeeded, so nobody had written it before.
 */
export class MariaDbConnection extends MysqlConnection implements DirectConnection {
  async executeBefore(
    runner: QueryRunner,
    statements: readonly DirectStatement[],
    commit: () => Promise<unknown>,
    proof: () => Statement,
  ): Promise<unknown[]> {
    for (const statement of statements) {
      const hooks = before(runner, statement);
      if (hooks !== null) await hooks;
    }
    const startedAtMs = Date.now();
    const block = new CommitBlock(statements);
    const { outcome, committed } = this.sendInsteadOf(commit, block, proof);
    const { error, answer } = await outcome;
    let failure = error && (new QueryFailedError(block.sql, block.parameters, error) as Error);
    for (const [index, statement] of statements.entries()) {
      try {
        const one: Outcome = error === null ? { error, answer: answer.each[index] } : { error, answer: null };
        const told = after(runner, statement, startedAtMs, one);
        if (told !== null) await told;
      } catch (refusal) {
        failure ??= refusal as Error;
      }
    }
    await committed;
    if (failure !== null) throw failure;
    return [...answer!.each];
  }

  /** Sends the block when COMMIT is about to be sent. @returns what became of it, and when COMMIT has settled */
  private sendInsteadOf(
    commit: () => Promise<unknown>,
    block: CommitBlock,
    proof: () => Statement,
  ): { outcome: Promise<Outcome<Answers>>; committed: Promise<void> } {
    const { client } = this;
    let settle!: (outcome: Outcome<Answers>) => void;
    const outcome = new Promise<Outcome<Answers>>((resolve) => (settle = resolve));
    const take = (): (() => void) =>
      takeNextQuery(client, (query) => (statement, values, callback) => {
        const { sql, timeout } = typeof statement === 'string' ? { sql: statement } : statement;
        if (sql !== COMMIT) {
          // A hook's of the application, past TypeORM.
          giveBack = take();
          return query(statement, values, callback);
        }
        const done = typeof values === 'function' ? values : callback;
        return this.send(query, block, timeout, (error, answer) => {
          if (error === null) settleBoth(block.answersOf(answer), settle, done);
          else void afterError(query, error, block, proof, settle, done);
        });
      });
    let giveBack = take();
    const committed = commit().then(
      () => undefined,
      (error: unknown) => {
        giveBack();
        // Where it was refused before it was sent; else this comes too late to be heard.
        settle({ error: error as Error, answer: null });
      },
    );
    return { outcome, committed };
  }
}

/** Settles as what the server says of it afterwards, where the error does not tell. */
async function afterError(
  query: MysqlClient['query'],
  error: Error,
  block: CommitBlock,
  proof: () => Statement,
  settle: (outcome: Outcome<Answers>) => void,
  done: MysqlCallback | undefined,
): Promise<void> {
  const header = INTERRUPTED.has((error as { errno?: unknown }).errno)
    ? await committedAllTheSame(query, proof())
    : null;
  if (header !== null) {
    settleBoth(block.lostAnswers(header), settle, done);
    return;
  }
  settle({ error, answer: null });
  done?.(error);
}

/** @returns null: it was not, or nobody knows, as the connection is gone by now */
async function committedAllTheSame(
  query: MysqlClient['query'],
  { sql, parameters }: Statement,
): Promise<MysqlHeader | null> {
  const ask = (text: string, values?: unknown[]): Promise<unknown> =>
    new Promise((resolve) => {
      query(text, values, (error, answer) => resolve(error === null ? answer : null));
    });
  const header = await ask(ASK_STATUS);
  if (!saysNoTransaction(header)) return null;
  const rows = await ask(sql, parameters);
  return Array.isArray(rows) && rows.length > 0 ? (header as MysqlHeader) : null;
}

function settleBoth(
  answers: Answers,
  settle: (outcome: Outcome<Answers>) => void,
  done: MysqlCallback | undefined,
): void {
  settle({ error: null, answer: answers });
  done?.(null, answers.commit);
}
