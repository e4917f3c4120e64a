import { type PgClient } from './client';

type Query = PgClient['query'];

/** Where a client keeps who takes its next query, */
const TAKER = Symbol('outbox takes the next query');
/** and how it is queried past that one. */
const QUERY = Symbol('outbox queries');

interface Interceptable extends PgClient {
  [TAKER]?: Query | null;
  [QUERY]?: Query;
}

/**
 * Hands the client's next query to somebody else, once.
 *
 * For that the client gets a `query` of its own, once in its life, which does no more than look whether there is somebody. To
 * put one there each time and to delete it again made of the client an object that no code is compiled for.
 * @returns takes it back, where no query came
 */
export function takeNextQuery(given: PgClient, take: (query: Query) => Query): () => void {
  const client: Interceptable = given;
  const taker = take((client[QUERY] ??= intercept(client)));
  client[TAKER] = taker;
  return () => {
    if (client[TAKER] === taker) client[TAKER] = null;
  };
}

/** @returns queries the client past whoever takes its queries */
function intercept(client: Interceptable): Query {
  const own = Object.hasOwn(client, 'query') ? client.query.bind(client) : null;
  const prototype = Object.getPrototypeOf(client) as PgClient;
  // What the prototype has by then: somebody may begin to trace it.
  const usual: Query = own ?? ((...args) => prototype.query.apply(client, args));
  const intercepting: Query = (config, values, callback) => {
    const taker = client[TAKER];
    if (taker === null || taker === undefined) return usual(config, values, callback);
    client[TAKER] = null;
    return taker(config, values, callback);
  };
  Object.defineProperty(client, 'query', { value: intercepting, configurable: true, writable: true });
  return usual;
}
