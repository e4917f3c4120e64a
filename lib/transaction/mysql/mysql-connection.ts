import { QueryFailedError, type QueryRunner } from 'typeorm';
import { type Outcome, after, before } from '../direct/around-statement';
import { type DirectConnection, type DirectStatement } from '../direct/direct-connection';
import { BEGIN, begin } from '../direct/direct-transaction';
import { timeLimitOf } from '../typeorm-internals';
import { type MysqlCallback, type MysqlClient, toQuery } from './client';

const BEGIN_STATEMENT = { sql: BEGIN };

/**
 * Why a statement was not prepared, or is no longer: the server does not prepare this one, has too many, or does not know
 * it (somebody in between gave us another server). In each case it was not executed.
 */
const NOT_PREPARED: ReadonlySet<unknown> = new Set([1295, 1461, 1243]);

/** Here, each statement waits for the answer to the one before. */
export class MysqlConnection implements DirectConnection {
  readonly answersAsTypeOrm = true;
  /** A statement could not be prepared here: from then on, none is. */
  private forgetful = false;

  constructor(
    protected readonly client: MysqlClient,
    private readonly mayPrepare: () => boolean,
  ) {}

  begin(runner: QueryRunner): Promise<void> {
    return begin(runner, () => this.execute(runner, BEGIN_STATEMENT));
  }

  dropBegin(): void {
    // It was sent.
  }

  async execute(runner: QueryRunner, statement: DirectStatement): Promise<unknown> {
    const hooks = before(runner, statement);
    if (hooks !== null) await hooks;
    const startedAtMs = Date.now();
    const outcome = await new Promise<Outcome>((resolve) => {
      const query: MysqlClient['query'] = (...args) => this.client.query(...args);
      try {
        this.send(query, statement, timeLimitOf(runner), (error, answer) => {
          resolve(error === null ? { error, answer } : { error, answer: null });
        });
      } catch (error) {
        // A value that the driver cannot write.
        resolve({ error: error as Error, answer: null });
      }
    });
    const told = after(runner, statement, startedAtMs, outcome);
    if (told !== null) await told;
    const { sql, parameters } = statement;
    if (outcome.error !== null) throw new QueryFailedError(sql, parameters, outcome.error);
    return outcome.answer;
  }

  /**
   * Has a statement with a name prepared once for the connection: the server then need not read it anew, and bytes travel as
   * bytes instead of digits.
   * @param query for those without
   */
  protected send(
    query: MysqlClient['query'],
    { sql, parameters, name }: DirectStatement,
    timeout: number | undefined,
    done: MysqlCallback,
  ): unknown {
    const unprepared = (): unknown => query(toQuery(sql, timeout), parameters, done);
    if (name === undefined || this.forgetful || !this.mayPrepare()) return unprepared();
    return this.client.execute(toQuery(sql, timeout), parameters, (error, answer) => {
      if (error === null || !NOT_PREPARED.has((error as { errno?: unknown }).errno))
        return done(error, answer);
      this.forgetful = true;
      unprepared();
    });
  }
}
