import { relative } from 'node:path';

import { Child } from './harness/child';
import { type DatabaseType, helpText, readOptions } from './harness/options';
import type { BenchOptions } from './harness/options';
import { Progress } from './harness/progress';
import { tableOf } from './harness/report';
import { type RunResult, runResultOf, writeJson, writeResult } from './harness/results';
import type { Row } from './harness/row';
import { type RowResult, runRow } from './harness/run-row';
import { startServers } from './harness/servers';
import { rowsOf } from './rows';

/** The harness and the consumers that note arrivals take less than this. Of one core. */
const DISTURBANCE_MAX = 0.5;

async function main(): Promise<void> {
  const argv = process.argv.slice(2);
  const options = readOptions(argv);
  if (options === 'help') {
    console.log(helpText());
    return;
  }
  if (options === 'list') {
    const rows = rowsOf({ payloads: [512] });
    console.log(
      rows.map(({ group, name, what }) => `${group.padEnd(14)}${name.padEnd(30)}${what}`).join('\n'),
    );
    return;
  }
  const rows = chosen(options);
  Child.profileInto(options.profile);
  const command = ['npm run bench', ...(argv.length > 0 ? ['--', ...argv] : [])].join(' ');
  const results: RunResult[] = [];
  for (const type of options.databases) results.push(await runOn(type, rows, options, command));
  if (options.json !== undefined) writeJson(options.json, results);
}

async function runOn(
  type: DatabaseType,
  rows: readonly Row[],
  options: BenchOptions,
  command: string,
): Promise<RunResult> {
  console.error(`Starting private servers: ${type === 'postgres' ? 'PostgreSQL' : 'MariaDB'} and RabbitMQ`);
  const servers = await startServers(type);
  const progress = new Progress();
  const results: RowResult[] = [];
  try {
    progress.begin();
    for (const row of rows.filter((one) => canRun(one, type))) {
      // A run takes long: neither a row that fails nor an end before its time must cost the others.
      await runRow(row, { options, ...servers }, progress.show).then(
        (result) => {
          results.push(result);
          writeResult(type, runResultOf(options, servers, command, results));
        },
        (error: unknown) => {
          console.error(`\nThe row ${row.name} failed and is left out:`, error);
          process.exitCode = 1;
        },
      );
    }
  } finally {
    progress.end();
    await servers.stop();
  }
  const result = runResultOf(options, servers, command, results);
  const { node, database, broker } = result.versions;
  console.log(
    `\n${result.machine}\nNode.js ${node}, ${database}, ${broker}\n${command}\n\n${tableOf(results)}\n`,
  );
  const disturbance = disturbanceOf(results);
  if (disturbance > DISTURBANCE_MAX) {
    console.log(
      `Others took up to ${disturbance.toFixed(2)} of a core meanwhile: run it again where nothing else runs.`,
    );
  }
  console.log(`Written: ${relative(process.cwd(), writeResult(type, result))}`);
  return result;
}

/** Whether it is about this database, and this machine has what it needs. Tells what it lacks. */
function canRun({ name, database, lacks }: Row, type: DatabaseType): boolean {
  if (database !== undefined && database !== type) return false;
  const missing = lacks?.() ?? null;
  if (missing !== null) console.error(`The row ${name} is left out: it needs ${missing}`);
  return missing === null;
}

/** The most that anything but the measured processes took of the CPU. */
function disturbanceOf(results: readonly RowResult[]): number {
  const cpus = results.flatMap(({ variants }) => variants.map(({ cpu }) => cpu?.others ?? 0));
  return Math.max(0, ...cpus);
}

function chosen(options: BenchOptions): Row[] {
  const rows = rowsOf(options);
  const unknown = options.only.filter((name) => !rows.some((row) => isNamed(row, name)));
  if (unknown.length > 0) throw new Error(`--only has ${unknown.join(', ')}; see npm run bench -- --list`);
  return options.only.length === 0
    ? rows
    : rows.filter((row) => options.only.some((name) => isNamed(row, name)));
}

function isNamed(row: Row, name: string): boolean {
  return [row.name, row.group, row.varietyOf].includes(name);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
