import { type PgAnswer, type PgClient, type PgQuery, type PgStatement } from './client';

/**
 * `pg`'s own object of one statement, for the extended protocol.
 *
 * Made of its text, and the rest afterwards: what is given as an object, `pg` copies property by property through
 * descriptors, which costs more than all else it does for a statement.
 */
export function queryOf(
  client: PgClient,
  { text, values, name }: PgStatement,
  resolve: (answer: PgAnswer) => void,
  reject: (error: Error) => void,
): PgQuery {
  const query = new client.constructor.Query(text, values, (error, answer) => {
    if (error === null || error === undefined) resolve(answer!);
    else reject(error);
  });
  query.name = name;
  query.queryMode = 'extended';
  return query;
}
