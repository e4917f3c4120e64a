import { QueryFailedError, type QueryRunner } from 'typeorm';
import { after, before } from '../direct/around-statement';
import { type DirectConnection, type DirectStatement } from '../direct/direct-connection';
import { BEGIN, begin } from '../direct/direct-transaction';
import { takeNextQuery } from '../direct/next-query';
import { heard } from '../typeorm-internals';
import { type PgClient, type PgStatement } from './client';
import { batchOn, keepBegin, takeBegin, withBegin } from './kept-begin';
import { type QueryBatch } from './query-batch';
import { type PgOutcome, queryOf } from './query-of';

/** A name that cannot be used: it is gone, is somebody else's, or was planned for columns that have changed since. */
const UNUSABLE_NAME: ReadonlySet<unknown> = new Set(['26000', '42P05', '0A000']);

const BEGIN_STATEMENT = { sql: BEGIN };

/** What the server will have answered to it. */
const BEGUN = { success: true, durationMs: 0, answer: { command: 'START', rows: [], rowCount: null } };

/** Here, statements can have names, and several share a round trip: BEGIN and the first one, the last ones and COMMIT. */
export class PostgresConnection implements DirectConnection {
  /** TypeORM makes of `pg`'s answer what depends on the command; this one gives the rows. */
  readonly answersAsTypeOrm = false;
  /** A named statement got lost here (DISCARD ALL, a pooler): from then on, none is named. */
  private forgetful = false;

  constructor(
    private readonly client: PgClient,
    private readonly mayPrepare: () => boolean,
  ) {}

  /** Begins, as far as anybody can see: BEGIN itself is kept back, and goes out with the first statement. */
  begin(runner: QueryRunner): Promise<void> {
    return begin(runner, () => this.keep(runner));
  }

  dropBegin(): void {
    takeBegin(this.client);
  }

  /** Sends one, together with a BEGIN that was kept back, and waits. @returns the rows */
  async execute(runner: QueryRunner, statement: DirectStatement): Promise<unknown> {
    const { client } = this;
    const hooks = before(runner, statement);
    if (hooks !== null) await hooks;
    const startedAtMs = Date.now();
    const outcome = await new Promise<PgOutcome>((resolve) => {
      const named = this.named(statement);
      if (named.columns === undefined) void client.query(withBegin(client, queryOf(client, named, resolve)));
      else {
        const batch = batchOn(client);
        batch.add(named, resolve);
        void client.query(batch);
      }
    });
    const told = this.tell(runner, statement, startedAtMs, outcome);
    if (told !== null) await told;
    return rowsOf(statement, outcome);
  }

  async executeBefore(
    runner: QueryRunner,
    statements: readonly DirectStatement[],
    commit: () => Promise<unknown>,
  ): Promise<unknown[]> {
    for (const statement of statements) {
      const hooks = before(runner, statement);
      if (hooks !== null) await hooks;
    }
    const startedAtMs = Date.now();
    const batch = batchOn(this.client);
    const answering = new Promise<readonly PgOutcome[]>((resolve) => {
      const outcomes: PgOutcome[] = [];
      for (const statement of statements) {
        batch.add(this.named(statement), (outcome) => {
          if (outcomes.push(outcome) === statements.length) resolve(outcomes);
        });
      }
    });
    let sent = false;
    const giveBack = takeNextQuery(this.client, (query) => (...[config]) => {
      sent = true;
      const answer = batch.append(config as Parameters<QueryBatch['append']>[0]);
      void query(batch);
      return answer;
    });
    const committed = commit().catch((error: unknown) => {
      giveBack();
      // Refused before it was sent, and so were the others.
      if (!sent) batch.abandon(error as Error);
    });
    const rows: unknown[] = [];
    const failures: unknown[] = [];
    for (const [index, outcome] of (await answering).entries()) {
      const statement = statements[index]!;
      try {
        const told = this.tell(runner, statement, startedAtMs, outcome);
        if (told !== null) await told;
        rows.push(rowsOf(statement, outcome));
      } catch (error) {
        failures.push(error);
      }
    }
    await committed;
    if (failures.length > 0) throw failures[0];
    return rows;
  }

  /** @returns what subscribers take time for; null: nothing */
  private keep(runner: QueryRunner): Promise<unknown> | null {
    const keep = (): Promise<unknown> | null => {
      keepBegin(this.client);
      return heard(runner, BEGIN_STATEMENT, BEGUN);
    };
    return before(runner, BEGIN_STATEMENT)?.then(keep) ?? keep();
  }

  private named({ sql, parameters, name, columns }: DirectStatement): PgStatement {
    const isKept = name !== undefined && this.mayPrepare() && !this.forgetful;
    return { text: sql, values: parameters, name: isKept ? name : undefined, columns };
  }

  private tell(
    runner: QueryRunner,
    statement: DirectStatement,
    startedAtMs: number,
    outcome: PgOutcome,
  ): Promise<unknown> | null {
    if (outcome.error !== null && UNUSABLE_NAME.has((outcome.error as { code?: unknown }).code))
      this.forgetful = true;
    return after(runner, statement, startedAtMs, outcome);
  }
}

function rowsOf({ sql, parameters }: DirectStatement, { error, answer }: PgOutcome): unknown {
  if (error !== null) throw new QueryFailedError(sql, parameters, error);
  return answer.rows;
}
