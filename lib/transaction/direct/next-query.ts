/** A driver's connection, as far as its queries are taken. */
export interface Queryable {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  query(...args: any[]): unknown;
}

/** Where a connection keeps who takes its next query, */
const TAKER = Symbol('outbox takes the next query');
/** and how it is queried past that one. */
const QUERY = Symbol('outbox queries');

type Interceptable<Client extends Queryable> = Client & {
  [TAKER]?: Client['query'] | null;
  [QUERY]?: Client['query'];
};

/**
 * Hands the connection's next query to somebody else, once.
 *
 * For that the connection gets a `query` of its own, once in its life, which does no more than look whether there is somebody.
 * To put one there each time and to delete it again made of `pg`'s client an object that no code is compiled for.
 * @returns takes it back, where no query came
 */
export function takeNextQuery<Client extends Queryable>(
  given: Client,
  take: (query: Client['query']) => Client['query'],
): () => void {
  const client: Interceptable<Client> = given;
  const taker = take((client[QUERY] ??= intercept(client)));
  client[TAKER] = taker;
  return () => {
    if (client[TAKER] === taker) client[TAKER] = null;
  };
}

/** @returns queries the connection past whoever takes its queries */
function intercept<Client extends Queryable>(client: Interceptable<Client>): Client['query'] {
  const own = Object.hasOwn(client, 'query') ? client.query.bind(client) : null;
  const prototype = Object.getPrototypeOf(client) as Client;
  // What the prototype has by then: somebody may begin to trace it.
  const usual: Client['query'] = own ?? ((...args) => prototype.query.apply(client, args));
  // As many parameters as a driver's query has, and no more: a list would be made anew for each query.
  const intercepting: Client['query'] = (config, values, callback) => {
    const taker = client[TAKER];
    if (taker === null || taker === undefined) return usual(config, values, callback);
    client[TAKER] = null;
    return taker(config, values, callback);
  };
  Object.defineProperty(client, 'query', { value: intercepting, configurable: true, writable: true });
  return usual;
}
