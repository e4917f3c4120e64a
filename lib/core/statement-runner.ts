/**
 * One database connection, with or without an open transaction on it; TypeORM's QueryRunner is one.
 * `query` answers what TypeORM's does: PostgreSQL rows, `[rows, count]` for UPDATE and DELETE; MySQL rows or a result header.
 */
export interface StatementRunner {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  query(sql: string, parameters?: any[]): Promise<any>;
}
