import { QueryRunnerAlreadyReleasedError, type QueryRunner } from 'typeorm';
import { announce, heard, loggerOf } from '../typeorm-internals';
import { type DirectStatement } from './direct-connection';

/** What became of a statement on the server. */
export type Outcome<Answer = unknown> =
  { readonly error: Error; readonly answer: null } | { readonly error: null; readonly answer: Answer };

/** Tells the logger and the subscribers of it; those may refuse it. @returns what they take time for; null: nothing */
export function before(
  runner: QueryRunner,
  { sql, parameters }: Pick<DirectStatement, 'sql' | 'parameters'>,
): Promise<unknown> | null {
  // The connection is somebody else's by then.
  if (runner.isReleased) throw new QueryRunnerAlreadyReleasedError();
  loggerOf(runner).logQuery(sql, parameters, runner);
  return announce(runner, sql, parameters);
}

/** Tells the logger and the subscribers what became of it. @returns what those take time for; null: nothing */
export function after(
  runner: QueryRunner,
  statement: DirectStatement,
  startedAtMs: number,
  { error, answer }: Outcome,
): Promise<unknown> | null {
  if (error === null)
    return heard(runner, statement, { success: true, durationMs: Date.now() - startedAtMs, answer });
  loggerOf(runner).logQueryError(error, statement.sql, statement.parameters, runner);
  return heard(runner, statement, { success: false, error });
}
