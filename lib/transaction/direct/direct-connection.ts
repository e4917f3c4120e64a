import { type QueryRunner } from 'typeorm';
import { type Statement } from '../../core/statement-runner';

/** As TypeORM gives it to subscribers and the logger. */
export type DirectStatement = Pick<Statement, 'sql' | 'name' | 'columns'> & {
  readonly parameters?: Statement['parameters'];
};

/**
 * A connection on which statements are sent past TypeORM's `query`, which awaits a dozen promises around each. All that TypeORM
 * does around a statement is done here as well: subscribers hear of it before and after, the logger logs it, the error
 * wraps the driver's. Nothing is awaited where no subscriber takes time: each promise is registered with
 * `AsyncLocalStorage` and is garbage afterwards, and those are most of what a transaction costs Node.js.
 */
export interface DirectConnection {
  /** Whether `execute()` answers what TypeORM's `query` would. */
  readonly answersAsTypeOrm: boolean;
  /** Begins a transaction, perhaps together with the first statement. */
  begin(runner: QueryRunner): Promise<void>;
  /** Takes a BEGIN back that no statement came to. Before the connection is given back. */
  dropBegin(): void;
  /** @returns the rows, or what the driver answers where there are none */
  execute(runner: QueryRunner, statement: DirectStatement): Promise<unknown>;
  /**
   * Sends these together with COMMIT, which `commit` sends, in one round trip. The server works in order; after one that failed
   * it skips the others. Absent where the server cannot do that.
   * @param proof finds a row that they have written: where the answer does not tell whether they were committed
   * @returns the answer to each; rejects with the first failure among them. `commit` has settled in either case.
   */
  executeBefore?(
    runner: QueryRunner,
    statements: readonly DirectStatement[],
    commit: () => Promise<unknown>,
    proof: () => Statement,
  ): Promise<unknown[]>;
}
