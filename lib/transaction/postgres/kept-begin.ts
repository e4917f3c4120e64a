import { BEGIN } from '../direct/direct-transaction';
import { takeNextQuery } from '../direct/next-query';
import { type PgAnswer, type PgClient, type PgQuery, type PgStatement, type Submittable } from './client';
import { QueryBatch } from './query-batch';

type Arguments = Parameters<PgClient['query']>;

/** Where a client keeps how to send no BEGIN after all. */
const KEPT = Symbol('outbox keeps BEGIN back');

interface Keeping extends PgClient {
  [KEPT]?: (() => void) | null;
}

/**
 * Keeps the BEGIN of one transaction back until its first statement, and sends both in one round trip. The server skips
 * the statement when BEGIN fails, so none ever runs by itself.
 *
 * Only a statement with values is sent along: one without may be several, and those the protocol takes by themselves alone.
 */
export function keepBegin(given: PgClient): void {
  const client: Keeping = given;
  const giveBack = takeNextQuery(client, (query) => (...args) => {
    client[KEPT] = null;
    return sendFirst(client, query, args);
  });
  client[KEPT] = giveBack;
}

/** Takes the BEGIN that is kept back there, to be sent by the caller or not at all. @returns whether there was one */
export function takeBegin(given: PgClient): boolean {
  const client: Keeping = given;
  const giveBack = client[KEPT];
  if (giveBack === null || giveBack === undefined) return false;
  client[KEPT] = null;
  giveBack();
  return true;
}

/** The query, or a batch of the BEGIN that was kept back and the query. */
export function withBegin(client: PgClient, query: PgQuery): Submittable {
  if (!takeBegin(client)) return query;
  const batch = beginBatch(client);
  void batch.append(query);
  return batch;
}

/** A batch for this client; a BEGIN that was kept back is its first statement. */
export function batchOn(client: PgClient): QueryBatch {
  return takeBegin(client) ? beginBatch(client) : new QueryBatch(client);
}

/** The failure of BEGIN is the failure of what comes along. */
function beginBatch(client: PgClient): QueryBatch {
  const batch = new QueryBatch(client);
  batch.add({ text: BEGIN, columns: [] }, () => undefined);
  return batch;
}

function sendFirst(client: PgClient, query: PgClient['query'], args: Arguments): Promise<PgAnswer> {
  const statement = batchable(...args);
  if (statement === null) return sendBegin(client, query, args);
  const batch = beginBatch(client);
  const answer = batch.addForeign(statement);
  void query(batch);
  return answer;
}

/** Sends BEGIN by itself, and what comes meanwhile when it is through, in its order: the client warns of queues. */
function sendBegin(client: PgClient, query: PgClient['query'], args: Arguments): Promise<PgAnswer> {
  const beginning = query(BEGIN);
  let giveBack = (): void => undefined;
  const afterBegin: PgClient['query'] = (...later) => {
    giveBack = takeNextQuery(client, () => afterBegin);
    // What is no text (a cursor, a stream) is to be had at once, so that the client has to queue it.
    return typeof later[0] === 'object' && 'submit' in later[0]
      ? query(...later)
      : beginning.then(() => query(...later));
  };
  const first = afterBegin(...args);
  const done = (): void => giveBack();
  beginning.then(done, done);
  return first;
}

function batchable(...[config, values, callback]: Arguments): PgStatement | null {
  if (callback !== undefined || typeof values === 'function') return null;
  if (typeof config === 'string') return hasValues(values) ? { text: config, values } : null;
  if ('submit' in config) return null;
  const all = values ?? config.values;
  return hasValues(all) ? { text: config.text, values: all, name: config.name } : null;
}

function hasValues(values: unknown[] | undefined): values is unknown[] {
  return Array.isArray(values) && values.length > 0;
}
