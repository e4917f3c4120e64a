import type { TableNames } from '../table-names';
import type { Dialect } from './dialect.port';
import { MysqlAlarms } from './mysql/alarms';
import { MysqlDeadLetters } from './mysql/dead-letters';
import { MysqlInbox } from './mysql/inbox';
import { MysqlOutbox } from './mysql/outbox';

/** MySQL 8.0.11 and newer, MariaDB 10.6 and newer. */
export function mysqlDialect(
  names: TableNames,
  onDeadLetter: 'park' | 'skip',
  alarmLeaseMs: number,
): Dialect {
  return {
    outbox: new MysqlOutbox(names, onDeadLetter, alarmLeaseMs),
    deadLetters: new MysqlDeadLetters(names, onDeadLetter),
    alarms: new MysqlAlarms(names, alarmLeaseMs),
    inbox: new MysqlInbox(names),
  };
}
