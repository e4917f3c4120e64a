import { outboxMigrations } from 'nestjs-outbox/migrations';
import { DataSource } from 'typeorm';

import { EFFECT_TABLE, ORDER_TABLE } from './names';
import type { DatabaseType } from './options';

/** A database of one row of the table, with the outbox's tables and those of the business. */
export interface Workspace {
  readonly type: DatabaseType;
  readonly url: string;
  /** Runs one statement and gives its rows. */
  query<Row = Record<string, unknown>>(sql: string, parameters?: unknown[]): Promise<Row[]>;
  /** What a database does after much was written, so that it does not do it in the middle of a measurement. */
  settle(): Promise<void>;
  drop(): Promise<void>;
}

const BUSINESS_TABLES: Readonly<Record<DatabaseType, readonly string[]>> = {
  postgres: [
    `CREATE TABLE ${ORDER_TABLE} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, amount integer NOT NULL)`,
    `CREATE TABLE ${EFFECT_TABLE} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer NOT NULL)`,
  ],
  mysql: [
    `CREATE TABLE ${ORDER_TABLE} (id bigint AUTO_INCREMENT PRIMARY KEY, customer varchar(60) NOT NULL, amount integer NOT NULL)`,
    `CREATE TABLE ${EFFECT_TABLE} (id bigint AUTO_INCREMENT PRIMARY KEY, n integer NOT NULL)`,
  ],
};

export async function openWorkspace(
  type: DatabaseType,
  url: string,
  drop: () => Promise<void>,
): Promise<Workspace> {
  const dataSource = await new DataSource({
    type,
    url,
    migrations: outboxMigrations(),
    migrationsRun: true,
    poolSize: 2,
  }).initialize();
  for (const sql of BUSINESS_TABLES[type]) await dataSource.query(sql);
  return {
    type,
    url,
    query: <Row>(sql: string, parameters?: unknown[]) => dataSource.query<Row[]>(sql, parameters),
    settle: async () => {
      if (type === 'mysql') {
        await dataSource.query('ANALYZE TABLE outbox_message');
        return;
      }
      await dataSource.query('VACUUM (ANALYZE)');
      await dataSource.query('CHECKPOINT');
    },
    drop: async () => {
      await dataSource.destroy();
      await drop();
    },
  };
}
