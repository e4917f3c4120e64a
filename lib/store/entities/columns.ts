import type { EntitySchemaColumnOptions } from 'typeorm';

import type { DialectName } from '../table-names';

type Column = (name: string, more?: Partial<EntitySchemaColumnOptions>) => EntitySchemaColumnOptions;

/** The column types of one dialect, as TypeORM names them. The tables themselves are made by our migrations. */
export interface ColumnKit {
  readonly uuid: Column;
  readonly text: Column;
  /** Short text that compares by bytes, trailing blanks included. */
  readonly exactText: Column;
  /** Read as a string: a bigint does not fit into a number. */
  readonly bigint: Column;
  readonly integer: Column;
  readonly bytes: Column;
  readonly json: Column;
  readonly time: Column;
}

const postgres: ColumnKit = {
  uuid: (name, more) => ({ name, type: 'uuid', ...more }),
  text: (name, more) => ({ name, type: 'text', ...more }),
  exactText: (name, more) => ({ name, type: 'text', ...more }),
  bigint: (name, more) => ({ name, type: 'bigint', ...more }),
  integer: (name, more) => ({ name, type: 'integer', ...more }),
  bytes: (name, more) => ({ name, type: 'bytea', ...more }),
  json: (name, more) => ({ name, type: 'json', ...more }),
  time: (name, more) => ({ name, type: 'timestamp with time zone', ...more }),
};

const mysql: ColumnKit = {
  uuid: (name, more) => ({ name, type: 'char', length: 36, ...more }),
  text: (name, more) => ({ name, type: 'text', ...more }),
  exactText: (name, more) => ({
    name,
    type: 'varbinary',
    length: 255,
    // Also called with the operators of a find condition, which are no strings: those pass.
    transformer: {
      to: (value: unknown) => (typeof value === 'string' ? Buffer.from(value) : value),
      from: (value: unknown) => (Buffer.isBuffer(value) ? value.toString() : value),
    },
    ...more,
  }),
  bigint: (name, more) => ({ name, type: 'bigint', ...more }),
  integer: (name, more) => ({ name, type: 'int', ...more }),
  bytes: (name, more) => ({ name, type: 'longblob', ...more }),
  json: (name, more) => ({
    name,
    type: 'longtext',
    transformer: {
      to: (value: unknown) =>
        value !== null && value?.constructor === Object ? JSON.stringify(value) : value,
      from: (value: unknown) => (typeof value === 'string' ? (JSON.parse(value) as unknown) : value),
    },
    ...more,
  }),
  // In UTC. TypeORM reads it so where the data source has `timezone: 'Z'`.
  time: (name, more) => ({ name, type: 'datetime', precision: 6, ...more }),
};

export const COLUMN_KITS: Readonly<Record<DialectName, ColumnKit>> = { postgres, mysql };
