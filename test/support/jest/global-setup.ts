import { type RequiredProgram, mayInstall, requireProgram } from '../process/debian-package';
import { MARIADB_PROGRAM } from '../mariadb-server';
import { RABBITMQ_PROGRAM } from '../rabbitmq-server';
import { SharedServerHost } from './shared-server-host';

/** As much of jest's configuration as is read here. */
interface GlobalConfig {
  readonly testPathPatterns: { readonly patterns: readonly string[] };
}

/** Tests that start no server. */
const NEEDS_NO_SERVER = /^test\/(unit|architecture)/;

/** Offers the shared servers to the specs; see shared-server-host.ts. Installs what they need, where it may. */
export default async function globalSetup({ testPathPatterns: { patterns } }: GlobalConfig): Promise<void> {
  const needsServers = patterns.length === 0 || patterns.some((pattern) => !NEEDS_NO_SERVER.test(pattern));
  if (needsServers) await installMissing(RABBITMQ_PROGRAM, MARIADB_PROGRAM);
  const host = new SharedServerHost();
  process.env.TEST_SHARED_SERVERS = await host.listen();
  (globalThis as { sharedServerHost?: SharedServerHost }).sharedServerHost = host;
}

/**
 * One after the other, before any spec: two workers would stand in each other's way, and a spec's own time is too short.
 * Where nothing may be installed, the spec that misses a server says so, unless an address was given.
 */
async function installMissing(...programs: RequiredProgram[]): Promise<void> {
  for (const program of programs) {
    const isGiven = process.env[program.environmentVariable] !== undefined;
    if (!isGiven && (await mayInstall())) await requireProgram(program);
  }
}
