/**
 * One database connection, with or without an open transaction on it; TypeORM's QueryRunner is one.
 * `query` answers what TypeORM's does: PostgreSQL rows, `[rows, count]` for UPDATE and DELETE; MySQL rows or a result header.
 */
export interface StatementRunner {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  query(sql: string, parameters?: any[]): Promise<any>;
  /** As `query`, for a statement that the server may keep planned. Absent where it cannot: see `execute()`. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  execute?(statement: HotStatement): Promise<any>;
  /**
   * Sends these as the last ones of the transaction: COMMIT follows in the same round trip. Called once at most, with all
   * that is left to be done. Absent where each statement has to wait for the answer to the one before.
   * @param proof finds a row that they have written: for where the answer does not tell whether they were committed
   * @returns the answers, as of `query`
   */
  finish?(statements: readonly Statement[], proof: () => Statement): Promise<readonly unknown[]>;
}

export interface Statement {
  readonly sql: string;
  readonly parameters: unknown[];
  /** See HotStatement. */
  readonly name?: string;
  /**
   * The names of its answer's columns, where all of them are texts; empty: nobody reads what is in its rows. Whoever sends it
   * need not ask the server what it will answer.
   */
  readonly columns?: readonly string[];
}

/** A statement that is sent over and over with the same text, so that planning it once is enough. */
export interface HotStatement extends Statement {
  /** The same name always has the same text, in all processes and versions: it is made of the text. */
  readonly name: string;
}

/** Sends a hot statement in the fastest way that the connection knows. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export function execute(statements: StatementRunner, statement: HotStatement): Promise<any> {
  return statements.execute?.(statement) ?? statements.query(statement.sql, statement.parameters);
}
