import { DataSource } from 'typeorm';
import { createTestDatabase, createVhost, type TestDatabaseType } from '../../../support/shared-servers';
import { ShopProcess } from './shop-process';

/** What the shop runs on. */
export interface Setting {
  readonly database: TestDatabaseType;
  readonly broker: 'in-process' | 'rabbitmq';
}

export const SETTINGS: readonly Setting[] = [
  { database: 'postgres', broker: 'in-process' },
  { database: 'mysql', broker: 'in-process' },
  { database: 'postgres', broker: 'rabbitmq' },
  { database: 'mysql', broker: 'rabbitmq' },
];

/** A database of its own, a virtual host of its own, and the shop on them, which may be started again and again. */
export class ShopSetting {
  private shop: ShopProcess | undefined;

  private constructor(
    private readonly env: { DATABASE_URL: string; RABBITMQ_URL?: string },
    private readonly dataSource: DataSource,
    private readonly drop: () => Promise<void>,
  ) {}

  /** @param brokerUrl instead of a virtual host of its own */
  static async create({ database, broker }: Setting, brokerUrl?: string): Promise<ShopSetting> {
    const testDatabase = await createTestDatabase(database);
    const dataSource = await new DataSource({ type: database, url: testDatabase.url }).initialize();
    const RABBITMQ_URL = broker === 'rabbitmq' ? (brokerUrl ?? (await createVhost()).url) : undefined;
    return new ShopSetting(
      { DATABASE_URL: testDatabase.url, ...(RABBITMQ_URL && { RABBITMQ_URL }) },
      dataSource,
      () => testDatabase.drop(),
    );
  }

  get process(): ShopProcess {
    if (!this.shop) throw new Error('The shop was not started');
    return this.shop;
  }

  get url(): string {
    return this.process.url;
  }

  async start(): Promise<void> {
    this.shop = await ShopProcess.start(this.env);
  }

  /** How many rows there are, by the table's name and a condition. */
  async count(table: string, where = '1 = 1'): Promise<number> {
    const [row] = await this.dataSource.query(`SELECT COUNT(*) AS rows_found FROM ${table} WHERE ${where}`);
    return Number(row.rows_found);
  }

  async dispose(): Promise<void> {
    await this.shop?.stop();
    await this.dataSource.destroy();
    await this.drop();
  }
}
