import type { EventEmitter } from 'node:events';
import { DataSource } from 'typeorm';

import { outboxMigrations } from '../../../lib/store/migrations';
import type { TestDatabaseType } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { TABLE_PREFIX } from '../topology';
import type { BusinessRow, OutboxRow } from './facts';

const TABLES = ['business', 'counter', 'effect'].map((name) => `${TABLE_PREFIX}${name}`);

/** The database, asked from outside of every process under test and past their proxies. */
export class Ledger {
  private constructor(private readonly dataSource: DataSource) {}

  /** Makes all tables of the campaign anew. */
  static async open(type: TestDatabaseType, url: string): Promise<Ledger> {
    const migrations = outboxMigrations({ prefix: TABLE_PREFIX });
    // One connection: sessions of others are what is counted.
    const options = { type, url, migrations, migrationsTableName: `${TABLE_PREFIX}migrations`, poolSize: 1 };
    const dataSource = await new DataSource(options).initialize();
    if (type === 'postgres') hearDeath(dataSource);
    const ledger = new Ledger(dataSource);
    await ledger.dropTables();
    await ledger.createTables();
    return ledger;
  }

  async business(): Promise<BusinessRow[]> {
    const rows = await this.ask<Record<string, string | number | null>>(
      `SELECT message_id, exchange, message_key, place, hopeless FROM ${TABLE_PREFIX}business`,
    );
    return rows.map((row) => ({
      id: String(row.message_id),
      exchange: String(row.exchange),
      key: row.message_key as string | null,
      place: row.place === null ? null : Number(row.place),
      hopeless: Number(row.hopeless) === 1,
    }));
  }

  async outbox(): Promise<OutboxRow[]> {
    const rows = await this.ask<Record<string, string | null>>(
      `SELECT id, status, last_error FROM ${TABLE_PREFIX}outbox_message`,
    );
    return rows.map((row) => ({ id: row.id!, status: row.status!, lastError: row.last_error! }));
  }

  /** Messages by status, but those that are sent. */
  async unsent(): Promise<OutboxRow[]> {
    return (await this.outbox()).filter(({ status }) => status !== 'sent');
  }

  async effects(): Promise<Map<string, Map<string, number>>> {
    const rows = await this.ask<{ message_id: string; queue: string; n: string }>(
      `SELECT message_id, queue, count(*) AS n FROM ${TABLE_PREFIX}effect GROUP BY message_id, queue`,
    );
    const byQueue = new Map<string, Map<string, number>>();
    for (const { message_id, queue, n } of rows) {
      const ofQueue = byQueue.get(queue) ?? new Map<string, number>();
      byQueue.set(queue, ofQueue.set(message_id, Number(n)));
    }
    return byQueue;
  }

  /** Sessions of others in this database. */
  async otherSessions(): Promise<number> {
    const sql =
      this.dataSource.options.type === 'postgres'
        ? `SELECT count(*) AS n FROM pg_stat_activity
           WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`
        : 'SELECT count(*) AS n FROM information_schema.processlist WHERE db = database() AND id <> connection_id()';
    const [row] = await this.ask<{ n: string }>(sql);
    return Number(row!.n);
  }

  async close(): Promise<void> {
    await this.dropTables();
    await this.dataSource.destroy();
  }

  /** The server may just be killed: then the question is asked again. */
  private ask<Row>(sql: string): Promise<Row[]> {
    return waitFor(() => this.dataSource.query<Row[]>(sql), {
      timeoutMs: 30_000,
      intervalMs: 200,
      what: sql,
    });
  }

  private async createTables(): Promise<void> {
    const id = this.dataSource.options.type === 'postgres' ? 'bigserial' : 'bigint AUTO_INCREMENT';
    const statements = [
      `CREATE TABLE ${TABLE_PREFIX}business (message_id char(36) PRIMARY KEY, exchange varchar(60) NOT NULL,
         message_key varchar(60), place int, hopeless int NOT NULL)`,
      `CREATE TABLE ${TABLE_PREFIX}counter (name varchar(130) PRIMARY KEY, n int NOT NULL)`,
      // Nothing here keeps a second effect out: only the inbox does.
      `CREATE TABLE ${TABLE_PREFIX}effect (id ${id} PRIMARY KEY, message_id char(36) NOT NULL, queue varchar(60) NOT NULL)`,
    ];
    for (const statement of statements) await this.dataSource.query(statement);
    await this.dataSource.runMigrations();
  }

  private async dropTables(): Promise<void> {
    while ((await this.migrationsRun()) > 0) await this.dataSource.undoLastMigration();
    for (const table of [...TABLES, `${TABLE_PREFIX}migrations`])
      await this.dataSource.query(`DROP TABLE IF EXISTS ${table}`);
  }

  private async migrationsRun(): Promise<number> {
    const rows = await this.dataSource
      .query<unknown[]>(`SELECT 1 FROM ${TABLE_PREFIX}migrations`)
      .catch(() => []);
    return rows.length;
  }
}

/** A server that is killed right behind its greeting says so before TypeORM listens: with nobody there, the campaign would end. */
function hearDeath({ driver }: DataSource): void {
  const { master } = driver as unknown as { master: EventEmitter };
  master.on('connect', (client: EventEmitter) => client.on('error', () => undefined));
}
