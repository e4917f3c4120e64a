import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { chown, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';

import { ShopError } from '../shop.error';
import { postgresBinaries } from './postgres-binaries';
import { postgresHome, type PostgresHome } from './postgres-home';
import { findPostmaster, launchPostmaster, type Postmaster, stopPostmaster, untilReady } from './postmaster';

const run = promisify(execFile);
const DATABASE = 'shop';
/** Any number that all shops agree on. */
const OWNER_LOCK = 20_150;
const OWNER_TIMEOUT_MS = 5_000;

/** A PostgreSQL that belongs to one shop. */
export interface EmbeddedPostgres {
  readonly url: string;
  /** Ends the server; the data stay for the next start. */
  stop(): Promise<void>;
}

/**
 * Starts a PostgreSQL on this data directory, or goes on with the one that runs there.
 *
 * Whatever is killed at whatever moment, the next start works: the cluster and the copied binaries are made aside and
 * renamed when they are whole; a server whose shop was killed is taken over; and what was committed is on the disk.
 */
export async function startEmbeddedPostgres(dataDirectory: string): Promise<EmbeddedPostgres> {
  const home = await postgresHome(dataDirectory);
  const binaries = await postgresBinaries(home.path, home.user);
  const cluster = join(home.path, 'cluster');
  if (!existsSync(cluster)) await createCluster(binaries, cluster, home);
  const password = readFileSync(passwordFile(home), 'utf8').trim();

  const { postmaster, client } = await connect(binaries, cluster, home, password);
  try {
    await becomeOwner(client, dataDirectory);
    await createDatabase(client);
  } catch (error) {
    await client.end();
    throw error;
  }
  return {
    url: urlOf(postmaster, password, DATABASE),
    stop: async () => {
      await client.end().catch(() => undefined);
      await stopPostmaster(postmaster);
    },
  };
}

async function createCluster(binaries: string, cluster: string, home: PostgresHome): Promise<void> {
  const draft = `${cluster}.draft`;
  await rm(draft, { recursive: true, force: true });
  await writeFile(passwordFile(home), randomBytes(24).toString('hex'), { mode: 0o600 });
  if (home.user) await chown(passwordFile(home), home.user.uid, home.user.gid);
  const args = ['-D', draft, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${passwordFile(home)}`];
  await run(join(binaries, 'bin', 'initdb'), [...args, '-E', 'UTF8', '--locale=C'], {
    cwd: home.path,
    ...home.user,
  });
  await rename(draft, cluster);
}

async function connect(
  binaries: string,
  cluster: string,
  home: PostgresHome,
  password: string,
): Promise<{ postmaster: Postmaster; client: Client }> {
  const ask = (postmaster: Postmaster): Promise<Client> =>
    untilReady(postmaster, home, () => open(urlOf(postmaster, password, 'postgres')));
  const leftBehind = findPostmaster(cluster);
  if (leftBehind) {
    // One that was just told to stop answers no more; once it is gone, a new one is started.
    const client = await ask(leftBehind).catch(() => undefined);
    if (client) return { postmaster: leftBehind, client };
  }
  const postmaster = await launchPostmaster(binaries, cluster, home);
  return { postmaster, client: await ask(postmaster) };
}

async function open(connectionString: string): Promise<Client> {
  const client = new Client({ connectionString });
  // The server may go before us; whoever uses the database finds out.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/**
 * Two shops on one data directory would stop the server under each other. The lock lives as long as the connection, so a
 * killed shop cannot keep it for more than a moment.
 */
async function becomeOwner(client: Client, dataDirectory: string): Promise<void> {
  for (const deadline = Date.now() + OWNER_TIMEOUT_MS; Date.now() < deadline; await delay(50)) {
    const { rows } = await client.query<{ free: boolean }>('SELECT pg_try_advisory_lock($1) AS free', [
      OWNER_LOCK,
    ]);
    if (rows[0]!.free) return;
  }
  throw new ShopError(`another shop runs on ${dataDirectory}; stop it, or set SHOP_DATA_DIR or DATABASE_URL`);
}

async function createDatabase(client: Client): Promise<void> {
  const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [DATABASE]);
  if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
}

const passwordFile = (home: PostgresHome): string => join(home.path, 'password');

function urlOf({ port }: Postmaster, password: string, database: string): string {
  return `postgres://postgres:${password}@127.0.0.1:${port}/${database}`;
}
