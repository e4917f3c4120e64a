import { QueryFailedError, QueryRunnerAlreadyReleasedError, type QueryRunner } from 'typeorm';
import { type Statement } from '../../core/statement-runner';
import { announce, heard, loggerOf } from '../typeorm-internals';
import { type PgAnswer, type PgClient } from './client';
import { takeNextQuery } from './next-query';
import { QueryBatch } from './query-batch';
import { queryOf } from './query-of';

/** A name that cannot be used: it is gone, is somebody else's, or was planned for columns that have changed since. */
const UNUSABLE_NAME: ReadonlySet<unknown> = new Set(['26000', '42P05', '0A000']);

/**
 * Statements on a PostgreSQL connection past TypeORM's `query`, which can neither name one nor send one before the one
 * before it is answered. All that TypeORM does around a statement is done here as well: subscribers hear of it before and
 * after, the logger logs it, the error wraps the driver's.
 */
export class DirectStatements {
  /** Where a named statement got lost (DISCARD ALL, a pooler): from then on, none is named there. */
  private readonly forgetful = new WeakSet<PgClient>();

  constructor(private readonly mayPrepare: () => boolean) {}

  /** Sends one, and waits. */
  async execute(runner: QueryRunner, client: PgClient, statement: Statement): Promise<unknown> {
    await before(runner, statement);
    const { sql: text, parameters: values } = statement;
    const answer = new Promise<PgAnswer>((resolve, reject) => {
      void client.query(
        queryOf(client, { text, values, name: this.nameOf(client, statement) }, resolve, reject),
      );
    });
    return this.after(runner, client, statement, answer);
  }

  /**
   * Sends these together with the next statement that `last` sends, in one round trip. The server works in order; after one
   * that failed it skips the others.
   * @returns the answers to the statements; rejects with the first failure among them. `last` has settled in either case.
   */
  async executeBefore(
    runner: QueryRunner,
    client: PgClient,
    statements: readonly Statement[],
    last: () => Promise<unknown>,
  ): Promise<unknown[]> {
    for (const statement of statements) await before(runner, statement);
    const batch = new QueryBatch(client);
    const answers = statements.map((statement) => {
      const { sql: text, parameters: values } = statement;
      const answer = batch.add({ text, values, name: this.nameOf(client, statement) });
      return this.after(runner, client, statement, answer);
    });
    let sent = false;
    const giveBack = takeNextQuery(client, (query) => (...[text]) => {
      sent = true;
      const answer = batch.add({ text: text as string });
      void query(batch);
      return answer;
    });
    const lastSettled = last().catch((error: unknown) => {
      giveBack();
      // Refused before it was sent, and so were the others.
      if (!sent) batch.abandon(error as Error);
    });
    const settled = await Promise.allSettled(answers);
    await lastSettled;
    return settled.map((answer) => {
      if (answer.status === 'rejected') throw answer.reason;
      return answer.value;
    });
  }

  private nameOf(client: PgClient, { name }: Statement): string | undefined {
    return name !== undefined && this.mayPrepare() && !this.forgetful.has(client) ? name : undefined;
  }

  private async after(
    runner: QueryRunner,
    client: PgClient,
    statement: Statement,
    sending: Promise<PgAnswer>,
  ): Promise<unknown> {
    const { sql, parameters } = statement;
    const startedAtMs = Date.now();
    let answer: PgAnswer;
    try {
      answer = await sending;
    } catch (error) {
      if (UNUSABLE_NAME.has((error as { code?: unknown }).code)) this.forgetful.add(client);
      loggerOf(runner).logQueryError(error as Error, sql, parameters, runner);
      await heard(runner, statement, { success: false, error });
      throw new QueryFailedError(sql, parameters, error as Error);
    }
    await heard(runner, statement, { success: true, durationMs: Date.now() - startedAtMs, answer });
    return answer.rows;
  }
}

async function before(runner: QueryRunner, { sql, parameters }: Statement): Promise<void> {
  // The client is somebody else's by then.
  if (runner.isReleased) throw new QueryRunnerAlreadyReleasedError();
  loggerOf(runner).logQuery(sql, parameters, runner);
  await announce(runner, sql, parameters);
}
