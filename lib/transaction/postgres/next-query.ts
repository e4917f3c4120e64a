import { type PgClient } from './client';

/**
 * Hands the client's next query to somebody else, once: `query` is an own property of the client until then.
 * @returns takes it back, where no query came
 */
export function takeNextQuery(
  client: PgClient,
  take: (query: PgClient['query']) => PgClient['query'],
): () => void {
  const usual = Object.getOwnPropertyDescriptor(client, 'query');
  const taken = take(client.query.bind(client));
  const giveBack = (): void => {
    if (client.query !== value) return;
    if (usual === undefined) Reflect.deleteProperty(client, 'query');
    else Object.defineProperty(client, 'query', usual);
  };
  const value: PgClient['query'] = (...args) => {
    giveBack();
    return taken(...args);
  };
  Object.defineProperty(client, 'query', { value, configurable: true, writable: true });
  return giveBack;
}
