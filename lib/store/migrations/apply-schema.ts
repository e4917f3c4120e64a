import type { StatementRunner } from '../../core/statement-runner';
import { quote, type TableNames } from '../table-names';
import { mysqlSchemaDown, mysqlSchemaUp } from './mysql-schema';
import { postgresSchemaDown, postgresSchemaUp } from './postgres-schema';

/** Makes the tables of version 1. May run twice, and in a transaction (which MySQL's DDL commits). */
export async function applySchema(statements: StatementRunner, names: TableNames): Promise<void> {
  await createSchema(statements, names);
  const up = names.dialect === 'postgres' ? postgresSchemaUp(names) : mysqlSchemaUp(names);
  for (const statement of up) await statements.query(statement);
}

/** Drops them, with everything in them. A schema of the option `tables.schema` stays. */
export async function revertSchema(statements: StatementRunner, names: TableNames): Promise<void> {
  const down = names.dialect === 'postgres' ? postgresSchemaDown(names) : mysqlSchemaDown(names);
  for (const statement of down) await statements.query(statement);
}

/** Looks before it creates: `IF NOT EXISTS` needs the right to create even where there is nothing to do. */
async function createSchema(statements: StatementRunner, { dialect, schema }: TableNames): Promise<void> {
  if (schema === null) return;
  const placeholder = dialect === 'postgres' ? '$1' : '?';
  const found = (await statements.query(
    `SELECT 1 AS found FROM information_schema.schemata WHERE schema_name = ${placeholder}`,
    [schema],
  )) as unknown[];
  if (found.length === 0) await statements.query(`CREATE SCHEMA IF NOT EXISTS ${quote(dialect, schema)}`);
}
