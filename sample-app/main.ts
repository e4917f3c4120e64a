import 'reflect-metadata';

import { openShop } from './shop';
import { readConfig } from './shop.config';
import { explain } from './shop.error';

async function main(): Promise<void> {
  const opening = openShop(readConfig(process.env));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    // Once: whoever asks a second time does not want to wait.
    process.once(signal, () => void close(opening));
  }
  const shop = await opening;
  console.log(`Shop is listening on ${shop.url}`);
}

async function close(opening: ReturnType<typeof openShop>): Promise<void> {
  await opening.then((shop) => shop.close());
  process.exit(0);
}

main().catch((error: unknown) => {
  console.error(`The shop cannot open: ${explain(error)}`);
  process.exit(1);
});
