import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readFile, readlink, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import request from 'supertest';
import { freePort } from '../../support/process/free-port';
import { isAlive } from '../../support/process/supervised-process';
import { waitFor } from '../../support/wait-for';
import { ShopProcess } from './support/shop-process';

describe('the shop on its embedded PostgreSQL', () => {
  let directory: string;
  let open: ShopProcess[] = [];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'shop-data-'));
    await chmod(directory, 0o755);
  });
  afterEach(async () => {
    await Promise.all(open.map((shop) => shop.stop()));
    open = [];
    await rm(directory, { recursive: true, force: true });
  }, 30_000);

  async function start(dataDirectory = directory): Promise<ShopProcess> {
    const shop = await ShopProcess.start({ SHOP_DATA_DIR: dataDirectory });
    open.push(shop);
    return shop;
  }

  async function refused(env: Parameters<typeof ShopProcess.run>[1]): Promise<string> {
    const shop = ShopProcess.run('main.ts', { SHOP_DATA_DIR: directory, ...env });
    expect(await shop.end()).toBe(1);
    return shop.output;
  }

  const putTea = (shop: ShopProcess) =>
    request(shop.url).put('/products/tea').send({ name: 'Tea', priceCents: 1, stock: 5 }).expect(200);
  const findTea = (shop: ShopProcess) => request(shop.url).get('/products/tea').expect(200);

  it('keeps its data, and takes the server with it when it closes', async () => {
    const first = await start();
    await putTea(first);
    const postmaster = await postmasterOf(directory);
    expect(await first.stop()).toBe(0);
    expect(isAlive(postmaster)).toBe(false);

    const second = await start();
    await findTea(second);
    second.signal('SIGINT');
    expect(await second.end()).toBe(0);
    expect(second.output).toBe(`Shop is listening on ${second.url}\n`);
  }, 90_000);

  it('goes on with the server that a killed shop has left behind', async () => {
    const first = await start();
    await putTea(first);
    const postmaster = await postmasterOf(directory);
    await first.kill();
    const second = await start();
    await findTea(second);
    expect(await postmasterOf(directory)).toBe(postmaster);
  }, 90_000);

  it('starts again after everything was killed', async () => {
    const first = await start();
    await putTea(first);
    await first.kill();
    process.kill(await postmasterOf(directory), 'SIGKILL');
    const second = await start();
    await findTea(second);
  }, 90_000);

  it('starts again when a server is just shutting down', async () => {
    const first = await start();
    await putTea(first);
    await first.kill();
    process.kill(await postmasterOf(directory), 'SIGTERM');
    const second = await start();
    await findTea(second);
  }, 90_000);

  it('closes in an orderly way when it is told so before it is open', async () => {
    const shop = ShopProcess.run('main.ts', { SHOP_DATA_DIR: directory });
    await waitForFile(join(directory, 'postgres', 'cluster', 'postmaster.pid'));
    expect(await shop.stop()).toBe(0);
    await expect(postmasterOf(directory)).rejects.toThrow('ENOENT');
  }, 90_000);

  it('refuses a second shop on the same data, and leaves the first one alone', async () => {
    const first = await start();
    await putTea(first);
    expect(await refused({})).toBe(
      `The shop cannot open: another shop runs on ${directory}; stop it, or set SHOP_DATA_DIR or DATABASE_URL\n`,
    );
    await findTea(first);
  }, 90_000);

  it('says in one line what is wrong', async () => {
    const port = await freePort();
    const occupant = createServer().listen(port, '127.0.0.1');
    expect(await refused({ PORT: String(port) })).toBe(
      `The shop cannot open: port ${port} is in use; set PORT to another one\n`,
    );
    occupant.close();
    await expect(postmasterOf(directory)).rejects.toThrow('ENOENT');
    const nobody = await freePort();
    for (const scheme of ['postgres', 'mysql']) {
      expect(await refused({ DATABASE_URL: `${scheme}://shop:secret@127.0.0.1:${nobody}/shop` })).toBe(
        `The shop cannot open: no database answers at 127.0.0.1:${nobody} (ECONNREFUSED); ` +
          'start it, or unset DATABASE_URL to use the embedded one\n',
      );
    }
    expect(await refused({ PORT: 'http' })).toBe(
      'The shop cannot open: PORT is "http"; give a number from 0 to 65535\n',
    );
    expect(await refused({ DATABASE_URL: 'oracle://secret@host/shop' })).toBe(
      'The shop cannot open: DATABASE_URL is not the address of a server; it begins with postgres://\n',
    );
  }, 90_000);

  // Only for root does the server run as somebody else.
  const asRoot = process.getuid?.() === 0 ? it : undefined;
  asRoot?.(
    'runs for root in a directory that is closed to others',
    async () => {
      await chmod(directory, 0o700);
      const dataDirectory = join(directory, '.data');
      const first = await start(dataDirectory);
      await putTea(first);
      await first.stop();
      const elsewhere = await readlink(join(dataDirectory, 'postgres'));
      const second = await start(dataDirectory);
      await findTea(second);
      await second.stop();
      await rm(dataDirectory, { recursive: true });
      const third = await start(dataDirectory);
      await request(third.url).get('/products/tea').expect(404);
      await third.stop();
      await rm(elsewhere, { recursive: true });
    },
    120_000,
  );

  asRoot?.(
    'goes on as the user who began the data',
    async () => {
      const first = await start();
      await putTea(first);
      await first.stop();
      await promisify(execFile)('chown', ['-R', '12345:12345', join(directory, 'postgres')]);
      const second = await start();
      await findTea(second);
      expect((await stat(`/proc/${await postmasterOf(directory)}`)).uid).toBe(12_345);
    },
    90_000,
  );
});

async function postmasterOf(directory: string): Promise<number> {
  const pidFile = await readFile(join(directory, 'postgres', 'cluster', 'postmaster.pid'), 'utf8');
  return Number(pidFile.split('\n', 1)[0]);
}

async function waitForFile(path: string): Promise<void> {
  await waitFor(() => readFile(path).then(() => true), { timeoutMs: 60_000 });
}
