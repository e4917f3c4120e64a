import type { DataSource } from 'typeorm';

import type { AlarmStore } from '../core/alarm.port';
import { type Clock, systemClock } from '../core/clock';
import type { DeadLetterStore } from '../core/dead-letter-store.port';
import type { InboxStore } from '../core/inbox-store.port';
import type { OutboxStore } from '../core/outbox-store.port';
import { mysqlDialect } from './dialects/mysql';
import { postgresDialect } from './dialects/postgres';
import { PostgresNotifications } from './dialects/postgres/notifications';
import type { PreparedStatements } from './prepared-statements';
import { RelayDataSource } from './relay-data-source';
import { SchemaCheck } from './schema-check';
import { resolveTableNames, type TableLocation } from './table-names';
import { TypeOrmAlarmStore } from './typeorm-alarm-store';
import { TypeOrmDeadLetterStore } from './typeorm-dead-letter-store';
import { TypeOrmInboxStore } from './typeorm-inbox-store';
import { TypeOrmOutboxStore } from './typeorm-outbox-store';

export interface StoresOptions {
  /** The application's data source. It must be initialized where our entities are registered with it. */
  readonly dataSource: DataSource;
  readonly tables?: TableLocation;
  /** @default 'park' */
  readonly onDeadLetter?: 'park' | 'skip';
  /** Connections of the stores' own. @default 2 */
  readonly connections?: number;
  /** How long who made a dead letter has to ring its alarm, before others do. @default 30000 */
  readonly alarmLeaseMs?: number;
  readonly clock?: Clock;
  /** Whether hot statements on PostgreSQL have names. @default 'auto' (where no pooler would lose them) */
  readonly preparedStatements?: PreparedStatements;
}

export interface Stores {
  readonly outbox: OutboxStore;
  readonly deadLetters: DeadLetterStore;
  readonly alarms: AlarmStore;
  readonly inbox: InboxStore;
  /** Whether the server keeps named statements. Known once a store was used: false until then. */
  preparesStatements(): boolean;
  /** Closes the connections of all. May be called twice. */
  close(): Promise<void>;
}

/**
 * The stores of one data source. Nothing is connected before the first use; `verify()` of any of them checks for all.
 * A consumer without an outbox takes `inbox` and leaves the others.
 * @throws UnsupportedDatabaseError for a data source of another type
 */
export function createStores(options: StoresOptions): Stores {
  const { dataSource, tables, onDeadLetter = 'park', connections = 2, clock = systemClock } = options;
  const { alarmLeaseMs = 30_000, preparedStatements = 'auto' } = options;
  const names = resolveTableNames(dataSource, tables);
  const postgres = names.dialect === 'postgres';
  const dialect = postgres ? postgresDialect : mysqlDialect;
  const { outbox, deadLetters, alarms, inbox } = dialect(names, onDeadLetter, alarmLeaseMs);
  // One more for LISTEN, which keeps its connection.
  const poolSize = postgres ? connections + 1 : connections;
  const database = new RelayDataSource(dataSource, poolSize, preparedStatements);
  const check = new SchemaCheck(dataSource, database, outbox, names);
  const verify = (): Promise<void> => check.run();
  const notifications = postgres ? new PostgresNotifications(database, names, clock) : null;
  const outboxStore = new TypeOrmOutboxStore({ database, outbox, notifications, clock, verify });
  return {
    outbox: outboxStore,
    deadLetters: new TypeOrmDeadLetterStore(database, deadLetters, outbox),
    alarms: new TypeOrmAlarmStore(database, alarms, outbox.rowsMax),
    inbox: new TypeOrmInboxStore(database, inbox, verify),
    preparesStatements: () => database.preparesStatements,
    close: () => outboxStore.close(),
  };
}
