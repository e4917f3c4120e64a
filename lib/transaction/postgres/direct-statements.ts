import { QueryFailedError, QueryRunnerAlreadyReleasedError, type QueryRunner } from 'typeorm';
import { type Statement } from '../../core/statement-runner';
import { announce, heard, loggerOf } from '../typeorm-internals';
import { type PgClient, type PgStatement } from './client';
import { batchOn, withBegin } from './kept-begin';
import { takeNextQuery } from './next-query';
import { type QueryBatch } from './query-batch';
import { type PgOutcome, queryOf } from './query-of';

/** A name that cannot be used: it is gone, is somebody else's, or was planned for columns that have changed since. */
const UNUSABLE_NAME: ReadonlySet<unknown> = new Set(['26000', '42P05', '0A000']);

/** As TypeORM gives it to subscribers and the logger. */
export type DirectStatement = Pick<Statement, 'sql' | 'name' | 'columns'> & {
  readonly parameters?: Statement['parameters'];
};

/**
 * Statements on a PostgreSQL connection past TypeORM's `query`, which can neither name one nor send one before the one
 * before it is answered. All that TypeORM does around a statement is done here as well: subscribers hear of it before and
 * after, the logger logs it, the error wraps the driver's.
 *
 * It makes three promises where TypeORM makes a dozen, and those are most of what a transaction costs Node.js: each is
 * registered with `AsyncLocalStorage` and is garbage afterwards. So nothing is awaited where no subscriber takes time.
 */
export class DirectStatements {
  /** Where a named statement got lost (DISCARD ALL, a pooler): from then on, none is named there. */
  private readonly forgetful = new WeakSet<PgClient>();

  constructor(private readonly mayPrepare: () => boolean) {}

  /** Sends one, together with a BEGIN that was kept back, and waits. @returns the rows */
  async execute(runner: QueryRunner, client: PgClient, statement: DirectStatement): Promise<unknown> {
    const hooks = before(runner, statement);
    if (hooks !== null) await hooks;
    const startedAtMs = Date.now();
    const outcome = await new Promise<PgOutcome>((resolve) => {
      const named = this.named(client, statement);
      if (named.columns === undefined) void client.query(withBegin(client, queryOf(client, named, resolve)));
      else {
        const batch = batchOn(client);
        batch.add(named, resolve);
        void client.query(batch);
      }
    });
    const told = this.tell(runner, client, statement, startedAtMs, outcome);
    if (told !== null) await told;
    return rowsOf(statement, outcome);
  }

  /**
   * Sends these together with the next statement that `last` sends, in one round trip. The server works in order; after one
   * that failed it skips the others.
   * @returns the rows of each; rejects with the first failure among them. `last` has settled in either case.
   */
  async executeBefore(
    runner: QueryRunner,
    client: PgClient,
    statements: readonly DirectStatement[],
    last: () => Promise<unknown>,
  ): Promise<unknown[]> {
    for (const statement of statements) {
      const hooks = before(runner, statement);
      if (hooks !== null) await hooks;
    }
    const startedAtMs = Date.now();
    const batch = batchOn(client);
    const answering = new Promise<readonly PgOutcome[]>((resolve) => {
      const outcomes: PgOutcome[] = [];
      for (const statement of statements) {
        batch.add(this.named(client, statement), (outcome) => {
          if (outcomes.push(outcome) === statements.length) resolve(outcomes);
        });
      }
    });
    let sent = false;
    const giveBack = takeNextQuery(client, (query) => (...[config]) => {
      sent = true;
      const answer = batch.append(config as Parameters<QueryBatch['append']>[0]);
      void query(batch);
      return answer;
    });
    const lastSettled = last().catch((error: unknown) => {
      giveBack();
      // Refused before it was sent, and so were the others.
      if (!sent) batch.abandon(error as Error);
    });
    const rows: unknown[] = [];
    const failures: unknown[] = [];
    for (const [index, outcome] of (await answering).entries()) {
      const statement = statements[index]!;
      try {
        const told = this.tell(runner, client, statement, startedAtMs, outcome);
        if (told !== null) await told;
        rows.push(rowsOf(statement, outcome));
      } catch (error) {
        failures.push(error);
      }
    }
    await lastSettled;
    if (failures.length > 0) throw failures[0];
    return rows;
  }

  private named(client: PgClient, { sql, parameters, name, columns }: DirectStatement): PgStatement {
    const isKept = name !== undefined && this.mayPrepare() && !this.forgetful.has(client);
    return { text: sql, values: parameters, name: isKept ? name : undefined, columns };
  }

  /** Tells the logger and the subscribers what became of it. @returns what those take time for; null: nothing */
  private tell(
    runner: QueryRunner,
    client: PgClient,
    statement: DirectStatement,
    startedAtMs: number,
    { error, answer }: PgOutcome,
  ): Promise<unknown> | null {
    if (error === null)
      return heard(runner, statement, { success: true, durationMs: Date.now() - startedAtMs, answer });
    if (UNUSABLE_NAME.has((error as { code?: unknown }).code)) this.forgetful.add(client);
    loggerOf(runner).logQueryError(error, statement.sql, statement.parameters, runner);
    return heard(runner, statement, { success: false, error });
  }
}

/** Tells the logger and the subscribers of it; those may refuse it. @returns what they take time for; null: nothing */
function before(runner: QueryRunner, { sql, parameters }: DirectStatement): Promise<unknown> | null {
  // The client is somebody else's by then.
  if (runner.isReleased) throw new QueryRunnerAlreadyReleasedError();
  loggerOf(runner).logQuery(sql, parameters, runner);
  return announce(runner, sql, parameters);
}

function rowsOf({ sql, parameters }: DirectStatement, { error, answer }: PgOutcome): unknown {
  if (error !== null) throw new QueryFailedError(sql, parameters, error);
  return answer.rows;
}
