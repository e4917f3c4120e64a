import type { AlarmStore, HeardAlarm } from '../core/alarm.port';
import type { MessageRecord } from '../core/message';
import { chunksOf } from './chunks';
import { retryTransient } from './database-errors';
import type { AlarmDialect } from './dialects/dialect.port';
import { bySeq, toRecord } from './message-row';
import type { RelayDataSource } from './relay-data-source';

/** The alarms of one message table's dead letters. */
export class TypeOrmAlarmStore implements AlarmStore {
  constructor(
    private readonly database: RelayDataSource,
    private readonly alarms: AlarmDialect,
    private readonly rowsMax: number,
  ) {}

  async takeDue(limit: number): Promise<readonly MessageRecord[]> {
    return bySeq(await retryTransient(() => this.alarms.takeDue(this.database, limit))).map(toRecord);
  }

  async heard(alarms: readonly HeardAlarm[]): Promise<void> {
    for (const some of chunksOf(alarms, this.rowsMax)) {
      await retryTransient(() => this.alarms.heard(this.database, some));
    }
  }
}
