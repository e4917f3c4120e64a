import type { HeardAlarm } from '../../../core/alarm.port';
import type { RecordRow } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import { ALARM_PAUSE_MAX_MS, type AlarmDialect } from '../dialect.port';
import { integer, interval, marks, NOW, RECORD_COLUMNS, ROWS_MAX } from './columns';

export class MysqlAlarms implements AlarmDialect {
  private readonly byId: string;

  constructor(
    private readonly names: TableNames,
    private readonly alarmLeaseMs: number,
  ) {
    this.byId = `${names.message} AS m FORCE INDEX (PRIMARY)`;
  }

  /** The pause until the next ring is the row's age as a dead letter, within bounds: so it doubles, and needs no counter. */
  takeDue(database: RelayDataSource, limit: number): Promise<readonly RecordRow[]> {
    return database.transaction(async (statements) => {
      const due = (await statements.query(
        `SELECT id FROM ${this.names.message} FORCE INDEX (finished)
         WHERE status = 'dead_letter' AND alarm_due_at <= ${NOW}
         ORDER BY alarm_due_at LIMIT ${integer(Math.min(limit, ROWS_MAX))} FOR UPDATE SKIP LOCKED`,
      )) as { id: string }[];
      if (due.length === 0) return [];
      const ids = due.map(({ id }) => id);
      const age = `TIMESTAMPDIFF(MICROSECOND, m.dead_at, ${NOW})`;
      const [least, most] = [this.alarmLeaseMs, ALARM_PAUSE_MAX_MS].map((ms) => integer(ms * 1_000));
      await statements.query(
        `UPDATE ${this.byId}
         SET m.alarm_due_at = ${NOW} + INTERVAL GREATEST(${least}, LEAST(${age}, ${most})) MICROSECOND
         WHERE m.id IN (${marks(ids)})`,
        ids,
      );
      return (await statements.query(
        `SELECT ${RECORD_COLUMNS} FROM ${this.byId} WHERE m.id IN (${marks(ids)})`,
        ids,
      )) as RecordRow[];
    });
  }

  async heard(database: RelayDataSource, alarms: readonly HeardAlarm[]): Promise<void> {
    const ids = alarms.map(({ id }) => id);
    const began = alarms.map(({ sinceMs }) => `WHEN ? THEN ${NOW} - ${interval(sinceMs)}`).join(' ');
    await database.query(
      `UPDATE ${this.byId} SET m.alarm_due_at = NULL
       WHERE m.id IN (${marks(ids)}) AND m.dead_at <= CASE m.id ${began} END`,
      [...ids, ...ids],
    );
  }
}
