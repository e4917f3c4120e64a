import { randomBytes } from 'node:crypto';

import { EXCHANGE, MESSAGE_TYPE, TRANSPORT, fillerText } from './names';
import type { Workspace } from './workspace';

/** Rows of one statement: more would be one transaction of gigabytes. */
const CHUNK = 200_000;

/** What a row of the message table is to be, as SQL over its number `n`, which begins at 1. */
interface RowShape {
  readonly key: string;
  readonly keyHash: string;
  readonly status: string;
  /** Seconds from now until it is due. */
  readonly dueInSeconds: number;
  readonly isFinished: boolean;
}

export interface BacklogSize {
  readonly count: number;
  readonly bytes: number;
}

const WITHOUT_KEY = { key: 'NULL', keyHash: 'NULL' };
/** Just now, as a claim looks no further back than the last one that found nothing, but every ten seconds. */
const DUE: RowShape = { ...WITHOUT_KEY, status: `'pending'`, dueInSeconds: -1, isFinished: false };

/** Due rows, as publishers elsewhere leave them: of each key the first is pending, and the others wait behind it. */
export function fillDue(workspace: Workspace, size: BacklogSize, keys = 0): Promise<void> {
  if (keys === 0) return fill(workspace, size, DUE);
  const key = `(n % ${keys})`;
  return fill(workspace, size, {
    ...DUE,
    key: textOf(workspace, 'key-', key),
    keyHash: `(${key} + 1) * 1000003`,
    status: `CASE WHEN n <= ${keys} THEN 'pending' ELSE 'blocked' END`,
  });
}

/** Rows that are due tomorrow. */
export function fillNotDue(workspace: Workspace, size: BacklogSize): Promise<void> {
  return fill(workspace, size, { ...DUE, dueInSeconds: 86_400 });
}

export function fillSent(workspace: Workspace, size: BacklogSize): Promise<void> {
  return fill(workspace, size, { ...DUE, status: `'sent'`, isFinished: true });
}

/** One message that backs off for a day, and so many of its key behind it. */
export function fillStuck(workspace: Workspace, size: BacklogSize): Promise<void> {
  return fill(workspace, size, {
    key: `'stuck'`,
    keyHash: '-42',
    status: `CASE WHEN n = 1 THEN 'pending' ELSE 'blocked' END`,
    dueInSeconds: 86_400,
    isFinished: false,
  });
}

export async function emptyOutbox(workspace: Workspace): Promise<void> {
  await workspace.query('TRUNCATE TABLE outbox_message');
}

/** How many of the due ones are not written down as sent. */
export async function countUnsent(workspace: Workspace): Promise<number> {
  const soon = moment(workspace, 3_600);
  const [row] = await workspace.query<{ unsent: string }>(
    `SELECT count(*) AS unsent FROM outbox_message WHERE status = 'pending' AND available_at < ${soon}`,
  );
  return Number(row!.unsent);
}

async function fill(workspace: Workspace, { count, bytes }: BacklogSize, shape: RowShape): Promise<void> {
  for (let from = 1; from <= count; from += CHUNK) {
    await workspace.query(insert(workspace, from, Math.min(count, from + CHUNK - 1), bytes, shape));
  }
}

function insert(workspace: Workspace, from: number, to: number, bytes: number, shape: RowShape): string {
  const postgres = workspace.type === 'postgres';
  const hex = postgres ? 'to_hex(n)' : 'HEX(n)';
  // Ids grow with the rows, as those of the library do.
  const time = Date.now().toString(16).padStart(12, '0');
  const idStart = `${time.slice(0, 8)}-${time.slice(8)}-7${randomBytes(2).toString('hex').slice(1)}-8000-`;
  const id = postgres
    ? `('${idStart}' || lpad(${hex}, 12, '0'))::uuid`
    : `CONCAT('${idStart}', LPAD(${hex}, 12, '0'))`;
  const [front, back] = ['{"n":', `,"text":"${fillerText(bytes)}"}`];
  const payload = postgres
    ? `convert_to('${front}' || n || '${back}', 'UTF8')`
    : `CONCAT('${front}', n, '${back}')`;
  const now = moment(workspace, 0);
  const due = postgres
    ? `${moment(workspace, shape.dueInSeconds)} + n * interval '1 microsecond'`
    : `${moment(workspace, shape.dueInSeconds)} + INTERVAL n MICROSECOND`;
  const finished = shape.isFinished ? now : 'NULL';
  const source = postgres
    ? `generate_series(${from}::bigint, ${to}::bigint) AS n`
    : `(SELECT seq AS n FROM seq_${from}_to_${to}) AS numbers`;
  const key = postgres ? '"key"' : '`key`';
  return `INSERT INTO outbox_message (id, transport, destination, type, ${key}, key_hash, payload, content_type, headers,
      status, next_attempt_at, available_at, created_at, sent_at, finished_at)
    SELECT ${id}, '${TRANSPORT}', '${EXCHANGE}', '${MESSAGE_TYPE}', ${shape.key}, ${shape.keyHash}, ${payload},
      'application/json', '{}', ${shape.status}, ${due}, ${due}, ${now}, ${finished}, ${finished}
    FROM ${source} ORDER BY n`;
}

function moment({ type }: Workspace, seconds: number): string {
  return type === 'postgres'
    ? `clock_timestamp() + interval '${seconds} seconds'`
    : `UTC_TIMESTAMP(6) + INTERVAL ${seconds} SECOND`;
}

function textOf({ type }: Workspace, prefix: string, number: string): string {
  return type === 'postgres' ? `'${prefix}' || ${number}` : `CONCAT('${prefix}', ${number})`;
}
