import { EXPIRED, quarantineReason } from '../../given-up';
import type { RecordRow } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import { type Changed, interval, RECORD_COLUMNS } from './columns';
import type { PostgresQueries } from './queries';

/** Ends what nobody may claim any more: dead letters of rows that kill who sends them, and an end to what has expired. */
export class PostgresQuarantine {
  constructor(
    private readonly names: TableNames,
    private readonly queries: PostgresQueries,
    private readonly alarmLeaseMs: number,
  ) {}

  async take(database: RelayDataSource, claimsMax: number, limit: number): Promise<readonly RecordRow[]> {
    // One statement for both, as it is asked for again and again where there is nothing to do.
    const inVain = `m.claims >= ${Math.trunc(claimsMax)}`;
    const dead = (value: string, otherwise: string): string =>
      `CASE WHEN ${inVain} THEN ${value} ELSE ${otherwise} END`;
    const [ended] = (await database.query(
      `UPDATE ${this.names.message} AS m
       SET status = ${dead(`'dead_letter'`, `'cancelled'`)}, last_error = ${dead('$1', '$4')},
         dead_at = ${dead('statement_timestamp()', 'm.dead_at')},
         alarm_due_at = ${dead(`statement_timestamp() + ${interval('$3')}`, 'm.alarm_due_at')},
         claim_token = NULL, claimed_by = NULL, finished_at = statement_timestamp()
       WHERE m.ctid = ANY ((
         SELECT v.places || ARRAY(${this.queries.expired('$2::int - cardinality(v.places)')})
         FROM (SELECT ARRAY(${this.queries.takenInVain(claimsMax, '$2::int')}) AS places) AS v
       )::tid[])
       RETURNING ${RECORD_COLUMNS}`,
      [quarantineReason(claimsMax), limit, this.alarmLeaseMs, EXPIRED],
    )) as Changed<RecordRow>;
    const expired = ended.filter(({ status }) => status === 'cancelled');
    const keys = [...new Set(expired.flatMap(({ key_hash }) => (key_hash === null ? [] : [key_hash])))];
    if (keys.length === 0) return ended;
    const [behind] = (await database.query(
      `UPDATE ${this.names.message} AS m
       SET status = 'cancelled', last_error = $1, claim_token = NULL, claimed_by = NULL, finished_at = statement_timestamp()
       WHERE m.ctid = ANY (ARRAY(${this.queries.expiredBehind('$3::bigint[]', '$2')}))
       RETURNING ${RECORD_COLUMNS}`,
      [EXPIRED, limit - ended.length, keys],
    )) as Changed<RecordRow>;
    return [...ended, ...behind];
  }
}
