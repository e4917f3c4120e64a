import { ConsoleLogger, type INestApplication, ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AddressInfo, Server } from 'node:net';

import { openDatabase } from './database/database';
import type { ShopConfig } from './shop.config';
import { ShopModule } from './shop.module';

/** A shop that can serve. */
export interface Shop {
  readonly url: string;
  readonly databaseUrl: string;
  readonly app: INestApplication;
  /** Ends what is under way, and then the shop and its embedded database. */
  close(): Promise<void>;
}

export async function openShop(config: ShopConfig): Promise<Shop> {
  const database = await openDatabase(config);
  let app: INestApplication | undefined;
  try {
    app = await NestFactory.create(ShopModule.register(database.url, config.rabbitmqUrl), {
      logger: new ConsoleLogger({ logLevels: config.logLevels, colors: process.stdout.isTTY }),
      // What goes wrong before the shop is open is told by whoever opens it, in one line.
      abortOnError: false,
      bufferLogs: true,
      autoFlushLogs: false,
    });
    app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true }));
    await app.listen(config.port, '127.0.0.1');
    app.flushLogs();
  } catch (error) {
    await app?.close().catch(() => undefined);
    await database.close();
    throw error;
  }
  const shop = app;
  const { port } = (shop.getHttpServer() as Server).address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    databaseUrl: database.url,
    app: shop,
    close: async () => {
      await shop.close();
      await database.close();
    },
  };
}
