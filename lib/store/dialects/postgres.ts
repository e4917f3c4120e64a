import type { TableNames } from '../table-names';
import type { Dialect } from './dialect.port';
import { PostgresAlarms } from './postgres/alarms';
import { PostgresDeadLetters } from './postgres/dead-letters';
import { PostgresInbox } from './postgres/inbox';
import { PostgresOutbox } from './postgres/outbox';

/** PostgreSQL 13 and newer. */
export function postgresDialect(
  names: TableNames,
  onDeadLetter: 'park' | 'skip',
  alarmLeaseMs: number,
): Dialect {
  return {
    outbox: new PostgresOutbox(names, onDeadLetter, alarmLeaseMs),
    deadLetters: new PostgresDeadLetters(names, onDeadLetter),
    alarms: new PostgresAlarms(names, alarmLeaseMs),
    inbox: new PostgresInbox(names),
  };
}
