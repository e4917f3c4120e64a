import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, unlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { ShopError } from '../shop.error';
import type { PostgresHome } from './postgres-home';

const POLL_INTERVAL_MS = 25;
const STOP_TIMEOUT_MS = 15_000;
const BURIAL_TIMEOUT_MS = 10_000;

/** A running PostgreSQL, started by us or left behind by a shop that was killed. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number;
  /** Ours to bury; absent where another shop has started it. */
  readonly child?: ChildProcess;
}

/**
 * The server that a killed shop left behind: it runs on, and serves the next shop as well as a new one would. PostgreSQL
 * itself gets over a stale `postmaster.pid`, except where the number in it belongs to some other process by now.
 */
export function findPostmaster(cluster: string): Postmaster | undefined {
  const [pid, , , port] = readPidFile(cluster);
  if (!pid || !isAlive(pid)) return undefined;
  if (!mayBePostgres(pid)) {
    unlinkSync(pidFile(cluster));
    return undefined;
  }
  return port ? { pid, port } : undefined;
}

/** Starts a server on this cluster. It may not answer yet. */
export async function launchPostmaster(
  binaries: string,
  cluster: string,
  home: PostgresHome,
): Promise<Postmaster> {
  await untilBuried(cluster);
  const port = await freePort();
  const log = openSync(logFile(home), 'a', 0o600);
  const settings = { port, listen_addresses: '127.0.0.1', unix_socket_directories: '', max_connections: 200 };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const child = spawn(join(binaries, 'bin', 'postgres'), ['-D', cluster, ...flags], {
    cwd: home.path,
    // A process group of its own: Ctrl-C in the terminal is for the shop, which stops the server after itself.
    detached: true,
    stdio: ['ignore', log, log],
    ...home.user,
  });
  closeSync(log);
  await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  child.unref();
  return { pid: child.pid!, port, child };
}

/**
 * A server that was killed stays in the system's list until its parent takes notice, and PostgreSQL takes it for alive as
 * long. Where nobody ever does, PostgreSQL has the last word.
 */
async function untilBuried(cluster: string): Promise<void> {
  const [pid] = readPidFile(cluster);
  if (!pid) return;
  for (const deadline = Date.now() + BURIAL_TIMEOUT_MS; isListed(pid) && Date.now() < deadline;) {
    await delay(POLL_INTERVAL_MS);
  }
}

/**
 * A fast shutdown: sessions are ended, data are written. Resolves when the server is gone. A server of our own is awaited
 * as a child: one that ends without its parent's notice stays in the system's list, where PostgreSQL takes it for alive.
 */
export async function stopPostmaster({ pid, child }: Postmaster): Promise<void> {
  const isOurs = child && child.exitCode === null && child.signalCode === null;
  const buried = isOurs ? once(child, 'exit') : undefined;
  child?.ref();
  signal(pid, 'SIGINT');
  for (const deadline = Date.now() + STOP_TIMEOUT_MS; isAlive(pid);) {
    if (Date.now() > deadline) {
      signal(pid, 'SIGQUIT');
      break;
    }
    await delay(POLL_INTERVAL_MS);
  }
  await buried;
}

/** Asks until the server answers. Rejects when it has ended, or takes too long. */
export async function untilReady<T>(
  postmaster: Postmaster,
  home: PostgresHome,
  ask: () => Promise<T>,
): Promise<T> {
  for (const deadline = Date.now() + 60_000; ;) {
    try {
      return await ask();
    } catch (error) {
      if (!isAlive(postmaster.pid) || Date.now() > deadline) {
        const lastLine = readFileSync(logFile(home), 'utf8').trimEnd().split('\n').at(-1);
        throw new ShopError(`the embedded PostgreSQL did not start: ${lastLine} (log: ${logFile(home)})`, {
          cause: error,
        });
      }
      await delay(POLL_INTERVAL_MS);
    }
  }
}

function readPidFile(cluster: string): number[] {
  try {
    return readFileSync(pidFile(cluster), 'utf8').split('\n').map(Number);
  } catch {
    return [];
  }
}

/** Whether the system knows the number, of a living process or of a dead one. */
function isListed(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function isAlive(pid: number): boolean {
  if (!isListed(pid)) return false;
  // A process that has ended and that nobody has buried yet looks alive; in some containers for ever.
  return !/^\d+ \(.*\) [ZX]/.test(readProcFile(pid, 'stat') ?? '');
}

function signal(pid: number, name: NodeJS.Signals): void {
  if (isAlive(pid)) process.kill(pid, name);
}

/** Where the system does not tell, the answer is yes: two servers on one cluster would destroy it. */
function mayBePostgres(pid: number): boolean {
  const commandLine = readProcFile(pid, 'cmdline');
  return commandLine === undefined || commandLine.split('\0', 1)[0]!.endsWith('postgres');
}

/** Linux tells of its processes in files; other systems have none. */
function readProcFile(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return undefined;
  }
}

/** Below the range that the system gives to outgoing connections, or one of those may take it before the server does. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    const isFree = await new Promise<boolean>((resolve) => {
      const probe = createServer();
      probe.once('error', () => resolve(false));
      probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}

const pidFile = (cluster: string): string => join(cluster, 'postmaster.pid');
const logFile = (home: PostgresHome): string => join(home.path, 'server.log');
