import type { HeardAlarm } from '../../../core/alarm.port';
import type { RecordRow } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import { ALARM_PAUSE_MAX_MS, type AlarmDialect } from '../dialect.port';
import { type Changed, interval, RECORD_COLUMNS } from './columns';

export class PostgresAlarms implements AlarmDialect {
  constructor(
    private readonly names: TableNames,
    private readonly alarmLeaseMs: number,
  ) {}

  /** The pause until the next ring is the row's age as a dead letter, within bounds: so it doubles, and needs no counter. */
  async takeDue(database: RelayDataSource, limit: number): Promise<readonly RecordRow[]> {
    const [rows] = (await database.query(
      `UPDATE ${this.names.message} AS m
       SET alarm_due_at = clock_timestamp()
         + greatest(${interval('$1')}, least(clock_timestamp() - m.dead_at, ${interval('$2')}))
       WHERE m.ctid = ANY (ARRAY(
         SELECT ctid FROM ${this.names.message} WHERE alarm_due_at <= statement_timestamp()
         ORDER BY alarm_due_at LIMIT $3 FOR UPDATE SKIP LOCKED
       ))
       RETURNING ${RECORD_COLUMNS}`,
      [this.alarmLeaseMs, ALARM_PAUSE_MAX_MS, limit],
    )) as Changed<RecordRow>;
    return rows;
  }

  async heard(database: RelayDataSource, alarms: readonly HeardAlarm[]): Promise<void> {
    await database.query(
      `UPDATE ${this.names.message} AS m SET alarm_due_at = NULL
       FROM unnest($1::uuid[], $2::float8[]) AS h(id, since_ms)
       WHERE m.id = ANY ($1::uuid[]) AND m.id = h.id AND m.dead_at <= clock_timestamp() - ${interval('h.since_ms')}`,
      [alarms.map(({ id }) => id), alarms.map(({ sinceMs }) => sinceMs)],
    );
  }
}
