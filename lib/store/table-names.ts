import type { DataSource } from 'typeorm';

import { OutboxConfigurationError, UnsupportedDatabaseError } from '../core/errors';
import { ENTITY_NAMES, type EntityPart } from './entities/entity-names';

/** The two families of servers: what differs inside a family is found out by version. */
export type DialectName = 'postgres' | 'mysql';

/** Where the tables are. */
export interface TableLocation {
  /** The database schema (PostgreSQL) or database (MySQL). @default undefined (the connection's own) */
  readonly schema?: string | undefined;
  /** Stands before every table's name. @default '' */
  readonly prefix?: string | undefined;
}

/** Names ready for SQL: quoted, and qualified where a schema is known. */
export interface TableNames {
  readonly dialect: DialectName;
  readonly message: string;
  readonly inbox: string;
  /** The lock rows of keys (MySQL). */
  readonly key: string;
  readonly version: string;
  /** The schema or database as given, unquoted; null: the connection's own. */
  readonly schema: string | null;
  /** The message table's name alone, unquoted: index names and the channel of notifications begin with it. */
  readonly bareMessage: string;
  /** The inbox table's name alone, unquoted. */
  readonly bareInbox: string;
}

/** PostgreSQL cuts names at 63 bytes in silence, and index names are the table's name and a suffix. */
const TABLE_NAME_BYTES_MAX = 50;

export function dialectOf(type: string): DialectName {
  if (type === 'postgres') return 'postgres';
  if (type === 'mysql' || type === 'mariadb') return 'mysql';
  const reason = /sqlite|sqljs|capacitor|cordova|expo|react-native|nativescript/.test(type)
    ? `TypeORM's SQLite drivers share one connection among overlapping transactions, so one request's rollback takes ` +
      `another one's message with it.`
    : `it cannot skip locked rows and keep the order of keys the way the outbox needs.`;
  throw new UnsupportedDatabaseError(
    type,
    `nestjs-outbox does not work on a data source of type '${type}': ${reason} Use PostgreSQL 13+, MySQL 8.0.1+ or MariaDB 10.6+.`,
  );
}

/** The name alone, e.g. `shop_outbox_message`. */
export function bareTableName(part: EntityPart, prefix = ''): string {
  return (
    prefix +
    { message: 'outbox_message', inbox: 'inbox_message', key: 'outbox_key', version: 'outbox_schema' }[part]
  );
}

/**
 * The tables' names: from the data source's metadata where our entities are registered (so TypeORM's `entityPrefix`
 * and naming strategies have had their say), otherwise from the options.
 */
export function resolveTableNames(dataSource: DataSource, location: TableLocation = {}): TableNames {
  const dialect = dialectOf(dataSource.options.type);
  const ownSchema = dialect === 'postgres' ? (dataSource.options as { schema?: string }).schema : undefined;
  const schema = location.schema ?? ownSchema ?? null;
  const find = (part: EntityPart): { table: string; schema: string | null } => {
    const metadata = dataSource.hasMetadata(ENTITY_NAMES[part])
      ? dataSource.getMetadata(ENTITY_NAMES[part])
      : null;
    const table = metadata?.tableName ?? bareTableName(part, location.prefix);
    refuseLongName(table);
    if (metadata === null) return { table, schema };
    refuseRenamedColumns(metadata.columns);
    return { table, schema: (dialect === 'postgres' ? metadata.schema : metadata.database) ?? null };
  };
  const quoted = (found: { table: string; schema: string | null }): string =>
    found.schema === null
      ? quote(dialect, found.table)
      : `${quote(dialect, found.schema)}.${quote(dialect, found.table)}`;
  const [message, inbox] = [find('message'), find('inbox')];
  return {
    dialect,
    message: quoted(message),
    inbox: quoted(inbox),
    key: quoted(find('key')),
    version: quoted(find('version')),
    schema: message.schema,
    bareMessage: message.table,
    bareInbox: inbox.table,
  };
}

export function quote(dialect: DialectName, identifier: string): string {
  const mark = dialect === 'postgres' ? '"' : '`';
  return mark + identifier.replaceAll(mark, mark + mark) + mark;
}

function refuseLongName(table: string): void {
  if (Buffer.byteLength(table) <= TABLE_NAME_BYTES_MAX) return;
  throw new OutboxConfigurationError(
    'tables.prefix',
    `makes a table's name longer than ${TABLE_NAME_BYTES_MAX} bytes: ${table}. Give a shorter one.`,
  );
}

function refuseRenamedColumns(
  columns: readonly { givenDatabaseName?: string; databaseName: string }[],
): void {
  for (const { givenDatabaseName, databaseName } of columns) {
    if (givenDatabaseName === undefined || givenDatabaseName === databaseName) continue;
    throw new OutboxConfigurationError(
      'tables',
      `the data source's naming strategy turns the column ${givenDatabaseName} into ${databaseName}, though its name was ` +
        `given. Let columnName() of the strategy return a given custom name unchanged, or leave outboxEntities() out.`,
    );
  }
}
