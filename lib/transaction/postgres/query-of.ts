import { type Outcome } from '../direct/around-statement';
import { type PgAnswer, type PgClient, type PgQuery, type PgStatement } from './client';

export type PgOutcome = Outcome<PgAnswer>;

/**
 * `pg`'s own object of one statement.
 *
 * Made of its text, and the rest afterwards: what is given as an object, `pg` copies property by property through
 * descriptors, which costs more than all else it does for a statement.
 * @param settle called once, when it is through
 */
export function queryOf(
  client: PgClient,
  { text, values, name }: PgStatement,
  settle: (outcome: PgOutcome) => void,
): PgQuery {
  const query = new client.constructor.Query(text, values, (error, answer) => {
    if (error === null || error === undefined) settle({ error: null, answer: answer! });
    else settle({ error, answer: null });
  });
  query.name = name;
  return query;
}
