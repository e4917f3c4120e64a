import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { emptyOutbox } from '../harness/backlog';
import { EFFECT_TABLE, ORDER_TABLE } from '../harness/names';
import type { Bench, Figure, Variant } from '../harness/row';
import type { Workspace } from '../harness/workspace';
import type { SentStatement } from '../roles/statement-log';

/*
 * What PostgreSQL alone makes of the statements: pgbench sends them, a client in C without an ORM. No Node.js can have more of
 * them in a second on the same cores. The ratios are no bound of ours: this baseline has a client that costs little.
 *
 * The statements are those that the library sent in one transaction. What has to be another one in each (ids, the key's
 * digest) is made by the server or by pgbench; all else stays as it was.
 */

/** Statements that go out together, and are answered together. */
export type Trip = readonly SentStatement[];

export const serverRate: Figure = { name: 'rate', unit: '/s', better: 'higher' };

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const LOCKS_KEY = 'pg_advisory_xact_lock(';
const KEYS = 1_000_000_000_000;

/** It comes with PostgreSQL's packages, and not with the PostgreSQL that npm has. @returns what to install; null: nothing */
export function lacksPgbench(): string | null {
  const has = spawnSync('pgbench', ['--version']).status === 0;
  return has ? null : 'pgbench, which is in the package postgresql-contrib, or postgresql, of your system';
}

export interface ServerAlone {
  readonly name: string;
  readonly kind: Variant['kind'];
  readonly clients: number;
  readonly trips: () => Promise<readonly Trip[]>;
  /** Tables that get a row in each transaction. */
  readonly tables: readonly string[];
  /** Another key for each transaction, where the statements have one. @default one for all */
  readonly uniqueKeys?: boolean;
}

export function serverAlone(bench: Bench, workspace: Workspace, given: ServerAlone): Variant {
  const { name, kind, clients, uniqueKeys = false } = given;
  return {
    name: `pgbench: ${name}`,
    kind,
    run: async () => {
      const script = scriptOf(await given.trips(), uniqueKeys);
      await emptyOutbox(workspace);
      await workspace.query(`TRUNCATE TABLE ${ORDER_TABLE}, ${EFFECT_TABLE}, inbox_message`);
      await workspace.settle();
      const { transactions, perSecond } = await pgbench(
        workspace.url,
        script,
        clients,
        bench.options.seconds,
      );
      for (const table of given.tables) await checkRows(workspace, table, transactions);
      // pgbench would count among the others, and there is no Node.js.
      return { figures: { rate: perSecond }, cpu: null };
    },
  };
}

/** The trips of the library: BEGIN goes out with the first statement, its own ones at the end with COMMIT. @param last so many */
export function tripsOf(statements: readonly SentStatement[], last: number): Trip[] {
  const middle = statements.slice(2, -last).map((statement) => [statement]);
  return [statements.slice(0, 2), ...middle, statements.slice(-last)];
}

/** The transaction without the library: each statement by itself, as TypeORM sends them. */
export function bareAlone(
  bench: Bench,
  workspace: Workspace,
  given: Pick<ServerAlone, 'clients' | 'tables'> & { readonly insert: SentStatement },
): Variant {
  const { clients, tables, insert } = given;
  const trips = [
    [{ sql: 'START TRANSACTION', parameters: [] }],
    [insert],
    [{ sql: 'COMMIT', parameters: [] }],
  ];
  const name = clients === 1 ? 'bare, one at a time' : `bare, ${clients} at once`;
  return serverAlone(bench, workspace, {
    name,
    kind: 'baseline',
    clients,
    tables,
    trips: () => Promise.resolve(trips),
  });
}

function scriptOf(trips: readonly Trip[], uniqueKeys: boolean): string {
  const hash = trips.flat().find(({ sql }) => sql.includes(LOCKS_KEY))?.parameters[1];
  const lines = uniqueKeys ? [`\\set key random(1, ${KEYS})`] : [];
  for (const trip of trips) {
    const texts = trip.map((statement) => textOf(statement, uniqueKeys ? hash : undefined));
    if (texts.length === 1) lines.push(...texts);
    else lines.push('\\startpipeline', ...texts, '\\endpipeline');
  }
  return `${lines.join('\n')}\n`;
}

/** On one line, with its parameters in it. */
function textOf({ sql, parameters }: SentStatement, hash: unknown): string {
  const text = sql.replace(/\$(\d+)/g, (_, number: string) =>
    literalOf(parameters[Number(number) - 1], hash),
  );
  return `${text.replace(/\s+/g, ' ')};`;
}

function literalOf(value: unknown, hash: unknown): string {
  if (value === null || value === undefined) return 'NULL';
  if (value === hash) return ':key';
  // Structured cloning makes plain bytes of a Buffer.
  if (value instanceof Uint8Array) return `'\\x${Buffer.from(value).toString('hex')}'::bytea`;
  if (typeof value === 'number') return String(value);
  if (typeof value !== 'string') throw new Error(`no literal for ${typeof value}`);
  if (UUID.test(value)) return 'uuidv7()';
  return `'${value.replaceAll("'", "''")}'`;
}

/** A figure of transactions that did less than they should would be no figure. */
async function checkRows(workspace: Workspace, table: string, expected: number): Promise<void> {
  const [row] = await workspace.query<{ count: string }>(`SELECT count(*) AS count FROM ${table}`);
  if (Number(row!.count) !== expected)
    throw new Error(`${expected} transactions have left ${row!.count} rows in ${table}`);
}

async function pgbench(
  url: string,
  script: string,
  clients: number,
  seconds: number,
): Promise<{ readonly transactions: number; readonly perSecond: number }> {
  const { hostname, port, username, password, pathname } = new URL(url);
  const directory = await mkdtemp(join(tmpdir(), 'outbox-bench-'));
  try {
    const file = join(directory, 'script.sql');
    await writeFile(file, script);
    const load = [
      '-n',
      '-M',
      'prepared',
      '-j',
      '1',
      '-c',
      `${clients}`,
      '-T',
      `${Math.ceil(seconds)}`,
      '-f',
      file,
    ];
    const where = ['-h', hostname, '-p', port, '-U', decodeURIComponent(username), pathname.slice(1)];
    const { stdout } = await promisify(execFile)('pgbench', [...load, ...where], {
      env: { ...process.env, PGPASSWORD: decodeURIComponent(password) },
    });
    const transactions = /^number of transactions actually processed: (\d+)/m.exec(stdout)?.[1];
    const perSecond = /^tps = ([\d.]+)/m.exec(stdout)?.[1];
    if (transactions === undefined || perSecond === undefined)
      throw new Error(`pgbench said no rate: ${stdout}`);
    return { transactions: Number(transactions), perSecond: Number(perSecond) };
  } finally {
    await rm(directory, { recursive: true });
  }
}
