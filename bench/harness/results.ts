import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';

import { chartOf } from './chart';
import type { BenchOptions } from './options';
import type { RowResult } from './run-row';
import type { Servers } from './servers';

const BENCH = join(__dirname, '..');
const DIRECTORY = join(BENCH, 'results');

/** Whose versions have a say in the figures. */
const PACKAGES = [
  'typeorm',
  'pg',
  'mysql2',
  'amqplib',
  'graphile-worker',
  'pg-boss',
  'pg-transactional-outbox',
];

/** Everything that one run on one database brought, and where. */
export interface RunResult {
  readonly at: string;
  readonly command: string;
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly options: Omit<BenchOptions, 'json' | 'profile'>;
  readonly rows: readonly RowResult[];
}

export function runResultOf(
  { json: _json, profile: _profile, ...options }: BenchOptions,
  { database, broker }: Pick<Servers, 'database' | 'broker'>,
  command: string,
  rows: readonly RowResult[],
): RunResult {
  const [cpu] = cpus();
  return {
    at: new Date().toISOString(),
    command,
    machine: `${cpus().length} × ${cpu?.model.trim() ?? 'CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${platform()} ${release()} ${arch()}`,
    versions: {
      node: process.version,
      database: database.version,
      broker: broker.version,
      ...Object.fromEntries(PACKAGES.flatMap((name) => installed(name))),
    },
    options,
    rows,
  };
}

/** A run of everything replaces the last one; a part goes beside it, where git does not see it. @returns the file */
export function writeResult(name: string, result: RunResult): string {
  mkdirSync(DIRECTORY, { recursive: true });
  const partial = result.options.quick || result.options.only.length > 0 ? '.partial' : '';
  const path = join(DIRECTORY, `${name}${partial}`);
  const title = `nestjs-outbox on ${name === 'mysql' ? 'MariaDB' : 'PostgreSQL'} and RabbitMQ`;
  writeFileSync(`${path}.svg`, chartOf(title, result.rows));
  writeJson(`${path}.json`, result);
  return `${path}.json`;
}

function installed(name: string): [name: string, version: string][] {
  const files = [BENCH, join(BENCH, '..')].map((place) => join(place, 'node_modules', name, 'package.json'));
  const file = files.find(existsSync);
  if (file === undefined) return [];
  return [[name, (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version]];
}

export function writeJson(file: string, value: unknown): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
}
