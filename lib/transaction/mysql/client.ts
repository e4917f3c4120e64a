import { type QueryRunner } from 'typeorm';

/** What `mysql2` tells of a statement: rows or a header, and a list of those where it was several. */
export type MysqlCallback = (error: Error | null, answer?: unknown) => void;

export interface MysqlQuery {
  readonly sql: string;
  /** How long the driver waits for the answer. Milliseconds. */
  readonly timeout?: number | undefined;
}

type Send = (
  statement: string | MysqlQuery,
  values?: readonly unknown[] | MysqlCallback,
  callback?: MysqlCallback,
) => unknown;

/** `mysql2`'s connection, as far as statements are sent over it past TypeORM. */
export interface MysqlClient {
  readonly query: Send;
  /** Has it prepared once, and keeps it for the connection. */
  readonly execute: Send;
  /** What the server said of itself when it was connected to. */
  readonly _handshakePacket?: { readonly serverVersion?: string };
}

/** The answer to a statement that gives no rows. */
export interface MysqlHeader {
  /** Of its bits, see `IN_TRANSACTION`. */
  readonly serverStatus?: number;
}

/** The client of a connected runner; null where it is another driver than `mysql2`. */
export function mysqlClientOf(runner: QueryRunner): MysqlClient | null {
  const { databaseConnection: client } = runner as unknown as {
    databaseConnection?: (MysqlClient & { promise?: unknown }) | null;
  };
  const isClient =
    typeof client?.query === 'function' &&
    typeof client.execute === 'function' &&
    typeof client.promise === 'function';
  return isClient ? client : null;
}

/** The driver makes an object of a text in any case. */
export function toQuery(sql: string, timeout: number | undefined): string | MysqlQuery {
  return timeout === undefined ? sql : { sql, timeout };
}
