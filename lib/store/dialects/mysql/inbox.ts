import type { InboxEntry } from '../../../core/inbox-store.port';
import { type StatementRunner, execute } from '../../../core/statement-runner';
import { type Hot, hotStatement } from '../../hot-statement';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import type { InboxDialect } from '../dialect.port';
import { type Changed, integer, interval, NOW } from './columns';
import { MysqlServer } from './server';

/**
 * Which entries of a batch are new, told by one INSERT and no error: an entry that is there already gets its count of
 * duplicates raised. The server counts 1 for an inserted row and 2 for a changed one, so the usual answer (all are new) is
 * in the count. Otherwise those with no duplicates are the new ones: every older one was changed by this very statement,
 * and is locked, and a transaction sees its own changes at any isolation. (`INSERT IGNORE` would cut a key that is too
 * long; error 1062 would name one entry and undo all; "affected rows" of a row that does not change depends on a flag of
 * the connection.)
 */
export class MysqlInbox implements InboxDialect {
  private readonly server = MysqlServer.detector();
  /** The INSERTs of one entry, by their texts: those differ in the limit for the wait. */
  private readonly single = new Map<string, Hot>();

  constructor(private readonly names: TableNames) {}

  async add(
    statements: StatementRunner,
    entries: readonly InboxEntry[],
    waitMs: number | null,
  ): Promise<readonly InboxEntry[]> {
    // As bytes: what a text becomes on its way depends on the connection's character set.
    const keys = entries.flatMap(({ consumer, messageKey }) => [
      Buffer.from(consumer),
      Buffer.from(messageKey),
    ]);
    const insert = `INSERT INTO ${this.names.inbox} (consumer, message_key, processed_at)
       VALUES ${entries.map(() => `(?, ?, ${NOW})`).join(', ')} ON DUPLICATE KEY UPDATE duplicates = duplicates + 1`;
    const { affectedRows } = await this.insertWithin(waitMs, statements, insert, keys);
    if (affectedRows === entries.length) return entries;
    const rows = (await statements.query(
      `SELECT CONVERT(consumer USING utf8mb4) AS consumer, CONVERT(message_key USING utf8mb4) AS message_key
       FROM ${this.names.inbox} WHERE (${these(entries)}) AND duplicates = 0`,
      keys,
    )) as { consumer: string; message_key: string }[];
    const fresh = new Set(rows.map((row) => `${row.consumer}\0${row.message_key}`));
    return entries.filter(({ consumer, messageKey }) => fresh.has(`${consumer}\0${messageKey}`));
  }

  purge(database: RelayDataSource, olderThanMs: number, limit: number): Promise<number> {
    return database.transaction(async (statements) => {
      const rows = (await statements.query(
        `SELECT consumer, message_key FROM ${this.names.inbox} FORCE INDEX (processed)
         WHERE processed_at < ${NOW} - ${interval(olderThanMs)} ORDER BY processed_at LIMIT ${integer(limit)} FOR UPDATE SKIP LOCKED`,
      )) as { consumer: Buffer; message_key: Buffer }[];
      if (rows.length === 0) return 0;
      const sql = `DELETE FROM ${this.names.inbox} WHERE ${these(rows)}`;
      const keys = rows.flatMap(({ consumer, message_key }) => [consumer, message_key]);
      return ((await statements.query(sql, keys)) as Changed).affectedRows;
    });
  }

  private hot(sql: string): Hot {
    let known = this.single.get(sql);
    if (known === undefined) {
      known = hotStatement(sql);
      this.single.set(sql, known);
    }
    return known;
  }

  /** The limit is for this statement alone: the connection goes back to the application's pool, and the handler uses it. */
  private async insertWithin(
    waitMs: number | null,
    statements: StatementRunner,
    insert: string,
    keys: readonly Buffer[],
  ): Promise<Changed> {
    if (waitMs === null) return (await statements.query(insert, [...keys])) as Changed;
    const seconds = integer(Math.max(1, Math.ceil(waitMs / 1_000)));
    if ((await this.server(statements)).isMariaDb) {
      const sql = `SET STATEMENT innodb_lock_wait_timeout = ${seconds} FOR ${insert}`;
      return (await (keys.length === KEYS_OF_ONE
        ? execute(statements, this.hot(sql)([...keys]))
        : statements.query(sql, [...keys]))) as Changed;
    }
    await statements.query(
      `SET @outbox_usual_wait = @@SESSION.innodb_lock_wait_timeout, SESSION innodb_lock_wait_timeout = ${seconds}`,
    );
    try {
      return (await statements.query(insert, [...keys])) as Changed;
    } finally {
      // A connection that is gone needs no restoring, and the INSERT's error is the one that tells.
      await Promise.resolve(
        statements.query('SET SESSION innodb_lock_wait_timeout = @outbox_usual_wait') as Promise<unknown>,
      ).catch(() => undefined);
    }
  }
}

/** An entry has a consumer and a key. */
const KEYS_OF_ONE = 2;

/** Not a list of pairs: MariaDB finds no range of the primary key in one. */
function these(rows: readonly unknown[]): string {
  return rows.map(() => '(consumer = ? AND message_key = ?)').join(' OR ');
}
