import { QueryFailedError, type QueryRunner } from 'typeorm';
import { type Outcome, after, before } from '../direct/around-statement';
import { type DirectConnection, type DirectStatement } from '../direct/direct-connection';
import { BEGIN, begin } from '../direct/direct-transaction';
import { timeLimitOf } from '../typeorm-internals';
import { type MysqlClient } from './client';

const BEGIN_STATEMENT = { sql: BEGIN };

/** Here, each statement waits for the answer to the one before. */
export class MysqlConnection implements DirectConnection {
  readonly answersAsTypeOrm = true;

  constructor(private readonly client: MysqlClient) {}

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
    const outcome = await this.send(runner, statement);
    const told = after(runner, statement, startedAtMs, outcome);
    if (told !== null) await told;
    const { sql, parameters } = statement;
    if (outcome.error !== null) throw new QueryFailedError(sql, parameters, outcome.error);
    return outcome.answer;
  }

  private send(runner: QueryRunner, { sql, parameters }: DirectStatement): Promise<Outcome> {
    return new Promise((resolve) => {
      const timeout = timeLimitOf(runner);
      const query = timeout === undefined ? sql : { sql, timeout };
      try {
        this.client.query(query, parameters, (error, answer) => {
          resolve(error === null ? { error, answer } : { error, answer: null });
        });
      } catch (error) {
        // A value that the driver cannot write.
        resolve({ error: error as Error, answer: null });
      }
    });
  }
}
