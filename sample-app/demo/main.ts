import 'reflect-metadata';

import { join } from 'node:path';

import { openDatabase } from '../database/database';
import { readConfig } from '../shop.config';
import { explain } from '../shop.error';
import { requireOwnBroker } from './broker-guard';
import { exitCodeOf } from './checker';
import { Evidence } from './evidence';
import { planFor } from './plan';
import { fillCarts, sell } from './scenario';
import { settle } from './settle';
import { ShopClient } from './shop-client';
import { ShopProcess } from './shop-process';
import { formatTable } from './table';

/**
 * Sells the last items to too many buyers, pulls the plug in the middle, and counts what came of it. The database belongs
 * to the demo and not to the shop, so it outlives the shop's death, as it would elsewhere.
 */
async function main(): Promise<number> {
  const startedAt = Date.now();
  const config = readConfig(process.env);
  if (config.rabbitmqUrl) await requireOwnBroker(config.rabbitmqUrl);
  const database = await openDatabase({ ...config, dataDirectory: join(config.dataDirectory, 'demo') });
  const shop = new ShopProcess({ DATABASE_URL: database.url });
  const closeAll = async (): Promise<void> => {
    await shop.stop();
    await database.close();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void closeAll().finally(() => process.exit(1)));
  }
  try {
    await shop.start();
    const evidence = await Evidence.open(database.url);
    const client = new ShopClient(shop);
    const plan = planFor(`demo${startedAt.toString(36)}`);
    await fillCarts(plan, client);
    const told = await sell(plan, client, shop);
    const rows = await settle(() => evidence.collect(plan, told));
    await evidence.close();
    console.log(`\n${formatTable(rows)}\n`);
    console.log(`${client.retries} requests had no answer and were sent again. ${seconds(startedAt)} s.`);
    return exitCodeOf(rows);
  } finally {
    await closeAll();
  }
}

function seconds(since: number): string {
  return ((Date.now() - since) / 1_000).toFixed(1);
}

main().then(
  (exitCode) => process.exit(exitCode),
  (error: unknown) => {
    console.error(`The demo failed: ${explain(error)}`);
    process.exit(1);
  },
);
