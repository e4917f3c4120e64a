import { type PgAnswer, type PgClient, type PgStatement } from './client';
import { takeNextQuery } from './next-query';
import { QueryBatch } from './query-batch';

/** As TypeORM says it. */
const BEGIN = 'START TRANSACTION';

type Arguments = Parameters<PgClient['query']>;

/**
 * Keeps the BEGIN of one transaction back until its first statement, and sends both in one round trip. The server skips
 * the statement when BEGIN fails, so none ever runs by itself.
 *
 * Only a statement with values is sent along: one without may be several, and those the protocol takes by themselves alone.
 * @returns gives the connection up, whether anything was sent on it or not
 */
export function deferBegin(client: PgClient): () => void {
  let giveBack = takeNextQuery(client, (query) => (...args) => {
    // A subscriber's own statement came first, so this is no transaction yet.
    if (args[0] !== BEGIN) return query(...args);
    giveBack = takeNextQuery(
      client,
      () =>
        (...first) =>
          sendFirst(client, query, first),
    );
    return Promise.resolve<PgAnswer>({ command: 'START', rows: [], rowCount: null });
  });
  return () => giveBack();
}

function sendFirst(client: PgClient, query: PgClient['query'], args: Arguments): Promise<PgAnswer> {
  const statement = batchable(...args);
  if (statement === null) return sendBegin(client, query, args);
  const batch = new QueryBatch(client);
  // Its failure is the failure of what comes along.
  batch.add({ text: BEGIN }).catch(() => undefined);
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
