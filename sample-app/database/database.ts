import type { DataSourceOptions } from 'typeorm';
import { outboxMigrations } from 'nestjs-outbox/migrations';

import { CreateCarts1735689600002 } from '../carts/carts.migration';
import { CreateDroppedDuplicates1735689600004 } from '../messaging/dropped-duplicates.migration';
import { CreateOrders1735689600001 } from '../orders/orders.migration';
import { CreatePayments1735689600003 } from '../payments/payments.migration';
import { CreateProducts1735689600000 } from '../products/products.migration';
import type { ShopConfig } from '../shop.config';
import { startEmbeddedPostgres } from './embedded-postgres';

/** A database that answers under this address until it is closed. */
export interface Database {
  readonly url: string;
  close(): Promise<void>;
}

/** The database of DATABASE_URL, or the embedded one. */
export async function openDatabase(config: ShopConfig): Promise<Database> {
  if (config.databaseUrl) return { url: config.databaseUrl, close: () => Promise.resolve() };
  const server = await startEmbeddedPostgres(config.dataDirectory);
  return { url: server.url, close: () => server.stop() };
}

/** TypeORM's options for this address. */
export function dataSourceOptions(
  url: string,
): Extract<DataSourceOptions, { type: 'postgres' | 'mysql' | 'mariadb' }> {
  const common = {
    url,
    poolSize: 20,
    // The outbox brings its own tables, each module of the shop its own.
    migrations: [
      ...outboxMigrations(),
      CreateProducts1735689600000,
      CreateOrders1735689600001,
      CreateCarts1735689600002,
      CreatePayments1735689600003,
      CreateDroppedDuplicates1735689600004,
    ],
    migrationsRun: true,
  };
  return new URL(url).protocol.startsWith('postgres')
    ? { type: 'postgres', ...common }
    : { type: 'mysql', charset: 'utf8mb4', ...common };
}
