import type { TableNames } from '../../table-names';
import { type Hot, hotStatement } from '../../hot-statement';
import { CLAIMED_COLUMNS, interval, statusIs } from './columns';
import type { PostgresQueries } from './queries';

/** What a relay sends all the time, beside promotion.ts. The parameters are with those who send it. */
export interface RelayStatements {
  readonly claim: Hot;
  readonly fail: Hot;
  readonly release: Hot;
  readonly extend: Hot;
  readonly nextDue: Hot;
}

export function relayStatements(names: TableNames, queries: PostgresQueries): RelayStatements {
  return {
    claim: hotStatement(
      `UPDATE ${names.message} AS m
       SET claim_token = $1, claimed_by = $2, claims = m.claims + 1, next_attempt_at = clock_timestamp() + ${interval('$3')}
       WHERE m.ctid = ANY (ARRAY(${queries.due('$4::text[]', '$5::int', '$6::int', '$7')}))
       RETURNING ${CLAIMED_COLUMNS}`,
    ),
    fail: hotStatement(
      `UPDATE ${names.message} AS m
       SET status = CASE WHEN f.retry_ms IS NULL THEN 'dead_letter' ELSE 'pending' END,
         attempts = m.attempts + 1, claims = 0, last_error = f.error, claim_token = NULL, claimed_by = NULL,
         next_attempt_at = clock_timestamp() + ${interval('coalesce(f.retry_ms, 0)')},
         dead_at = CASE WHEN f.retry_ms IS NULL THEN statement_timestamp() END,
         finished_at = CASE WHEN f.retry_ms IS NULL THEN statement_timestamp() END,
         alarm_due_at = CASE WHEN f.retry_ms IS NULL THEN statement_timestamp() + ${interval('$5')} END
       FROM unnest($1::uuid[], $2::text[], $3::text[], $4::float8[]) AS f(id, token, error, retry_ms)
       WHERE m.id = ANY ($1::uuid[]) AND m.id = f.id AND m.claim_token = f.token AND ${statusIs('pending')}
       RETURNING m.id::text AS id`,
    ),
    release: hotStatement(
      `UPDATE ${names.message} AS m
       SET claims = greatest(m.claims - 1, 0), claim_token = NULL, claimed_by = NULL,
         next_attempt_at = clock_timestamp() + ${interval('r.after_ms')}
       FROM unnest($1::uuid[], $2::text[], $3::float8[]) AS r(id, token, after_ms)
       WHERE m.id = ANY ($1::uuid[]) AND m.id = r.id AND m.claim_token = r.token AND ${statusIs('pending')}`,
    ),
    extend: hotStatement(
      `UPDATE ${names.message} AS m SET next_attempt_at = clock_timestamp() + ${interval('$3')}
       WHERE m.id = ANY ($1::uuid[]) AND m.claim_token = $2 AND ${statusIs('pending')}
       RETURNING m.id::text AS id`,
    ),
    nextDue: hotStatement(queries.nextDue('$1::text[]', '$2::int', '$3')),
  };
}
