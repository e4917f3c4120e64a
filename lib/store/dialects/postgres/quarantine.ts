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
    const [dead] = (await database.query(
      this.ending(
        `'dead_letter', dead_at = statement_timestamp(), alarm_due_at = statement_timestamp() + ${interval('$3')}`,
        this.queries.takenInVain(claimsMax, '$2'),
      ),
      [quarantineReason(claimsMax), limit, this.alarmLeaseMs],
    )) as Changed<RecordRow>;
    const [expired] = (await database.query(this.ending(`'cancelled'`, this.queries.expired('$2')), [
      EXPIRED,
      limit - dead.length,
    ])) as Changed<RecordRow>;
    const keys = [...new Set(expired.flatMap(({ key_hash }) => (key_hash === null ? [] : [key_hash])))];
    if (keys.length === 0) return [...dead, ...expired];
    const [behind] = (await database.query(
      this.ending(`'cancelled'`, this.queries.expiredBehind('$3::bigint[]', '$2')),
      [EXPIRED, limit - dead.length - expired.length, keys],
    )) as Changed<RecordRow>;
    return [...dead, ...expired, ...behind];
  }

  /** @param candidates with the limit as $2; the reason is $1 */
  private ending(status: string, candidates: string): string {
    return `UPDATE ${this.names.message} AS m
       SET status = ${status}, last_error = $1, claim_token = NULL, claimed_by = NULL, finished_at = statement_timestamp()
       WHERE m.ctid = ANY (ARRAY(${candidates}))
       RETURNING ${RECORD_COLUMNS}`;
  }
}
