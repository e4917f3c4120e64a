import { DataSource } from 'typeorm';

import type { TestDatabase } from '../../support/shared-servers';

/** What the databases say, asked from outside of every process under test. */
export class Ledger {
  private constructor(private readonly dataSource: DataSource) {}

  static async open({ type, url }: TestDatabase): Promise<Ledger> {
    return new Ledger(await new DataSource({ type, url }).initialize());
  }

  async addCart(customerId: string): Promise<void> {
    await this.dataSource.query(
      `INSERT INTO cart_line (${this.quoted('customerId')}, cleared) VALUES ('${customerId}', 0)`,
    );
  }

  /** Orders that are committed, and how often their messages took effect. */
  async count(customerId: string): Promise<{ orders: number; effects: number }> {
    const column = this.quoted('customerId');
    const table = this.dataSource.options.type === 'postgres' ? '"order"' : '`order`';
    const [orders] = await this.ask<{ n: number }>(
      `SELECT count(*) AS n FROM ${table} WHERE ${column} = '${customerId}'`,
    );
    const [effects] = await this.ask<{ n: number }>(
      `SELECT cleared AS n FROM cart_line WHERE ${column} = '${customerId}'`,
    );
    return { orders: Number(orders?.n), effects: Number(effects?.n) };
  }

  /** How many messages are in each status. */
  async statuses(): Promise<Record<string, number>> {
    const rows = await this.ask<{ status: string; n: string }>(
      'SELECT status, count(*) AS n FROM outbox_message GROUP BY status',
    );
    return Object.fromEntries(rows.map(({ status, n }) => [status, Number(n)]));
  }

  /** Refusals that rows were charged with. */
  async attemptsSpent(): Promise<number> {
    const [row] = await this.ask<{ n: string }>('SELECT sum(attempts) AS n FROM outbox_message');
    return Number(row?.n);
  }

  /** Dead letters whose alarm nobody has heard. */
  async alarmsDue(): Promise<number> {
    const [row] = await this.ask<{ n: string }>(
      'SELECT count(*) AS n FROM outbox_message WHERE alarm_due_at IS NOT NULL',
    );
    return Number(row?.n);
  }

  close(): Promise<void> {
    return this.dataSource.destroy();
  }

  private ask<Row>(sql: string): Promise<Row[]> {
    return this.dataSource.query<Row[]>(sql);
  }

  private quoted(name: string): string {
    return this.dataSource.options.type === 'postgres' ? `"${name}"` : `\`${name}\``;
  }
}
