import { SchemaMismatchError } from '../../../core/errors';
import type { StagedMessage } from '../../../core/message';
import type { Birth, WrittenMessage } from '../../../core/outbox-store.port';
import type { Statement, StatementRunner } from '../../../core/statement-runner';
import { fitText } from '../../message-limits';
import { KEY_BUCKETS } from '../../migrations/schema-version';
import type { TableNames } from '../../table-names';
import { type Hot, hotStatement } from '../../hot-statement';
import { integers, interval, NOW } from './columns';
import type { MysqlQueries } from './queries';
import type { MysqlServer } from './server';

/** What is said when lock rows are missing: a state of our own, in the class for such. */
const LOCKS_MISSING = '45KEY';

/** Of rows that are not the heads of their keys as far as this transaction can see. */
const UNSEEN: HeldKeys = { seesCommitted: false, taken: new Set() };

interface HeldKeys {
  /** Whether a fresh statement of this transaction sees all that was committed before the locks were taken. */
  readonly seesCommitted: boolean;
  /** The keys that an earlier message holds. */
  readonly taken: ReadonlySet<bigint>;
}

/** An INSERT, and the messages that it writes, with their statuses. */
interface Insert {
  readonly statement: Statement;
  readonly written: readonly WrittenMessage[];
}

/*
 * Order within a key, on MySQL and MariaDB.
 *
 * The lock is a row of `outbox_key`: a digest's low bits choose one of 1,024, so strangers meet now and then, for the last
 * moment of a transaction. The rows were made by the migration: locking a row that is there takes no gap lock, at any
 * isolation. Locked in order, no two transactions deadlock; and whoever has the lock gets its `seq` after those before it
 * have ended, so `seq` is commit order within a key.
 *
 * Whether a message is the head, only a statement that sees what was committed before the lock can tell. Under READ
 * COMMITTED the next SELECT does. Under REPEATABLE READ, the default here, it would have to be a locking read, which
 * locks gaps of the index and so makes different keys wait for each other; such a message is born blocked, and `promote`
 * decides after its commit. The isolation comes along with the locks; what this one transaction was started with is
 * not in any variable, and so comes from its beginning (`birth.isolation`).
 *
 * Where the connection takes several statements at once, all is one round trip with COMMIT: the INSERT, and under REPEATABLE
 * READ the lock as well, since nothing has to be known in between. Whether the session has that level is guessed by the one
 * that published before, and the lock's answer tells for the next one. A wrong guess does no harm: born blocked is always safe.
 */
export class MysqlWriter {
  /** Whether the last session that was asked sees what others have committed; null: none was asked yet. */
  private sessionsSee: boolean | null = null;
  /** null: no key was locked yet. */
  private lockOne: Hot | null = null;
  /** The INSERTs of one message, by what their text depends on. */
  private readonly single = new Map<string, Hot>();

  constructor(
    private readonly names: TableNames,
    private readonly queries: MysqlQueries,
    private readonly server: (statements: StatementRunner) => Promise<MysqlServer>,
  ) {}

  async write(
    statements: StatementRunner,
    keyHashes: readonly bigint[],
    chunks: readonly (readonly StagedMessage[])[],
    birth: Birth,
  ): Promise<readonly WrittenMessage[]> {
    if (keyHashes.length > 0 && chunks.length === 1 && statements.finish && !this.maySee(birth))
      return this.writeUnseen(statements, keyHashes, chunks[0]!, birth);
    const seesCommitted = keyHashes.length === 0 || (await this.lockKeys(statements, keyHashes, birth));
    const written: WrittenMessage[] = [];
    const last = chunks.at(-1);
    for (const messages of chunks) {
      const taken = await this.heldKeys(statements, messages, seesCommitted);
      const insert = this.insertOf(messages, birth, { seesCommitted, taken });
      // One packet holds one chunk.
      if (messages === last && statements.finish)
        await statements.finish([insert.statement], () => this.proofOf(messages));
      else await statements.query(insert.statement.sql, insert.statement.parameters);
      written.push(...insert.written);
    }
    return written;
  }

  private maySee({ isolation }: Birth): boolean {
    return isolation === null ? this.sessionsSee !== false : seesCommitted(isolation);
  }

  /** Lock, INSERT and COMMIT at once: nothing is looked at, so all are born blocked. */
  private async writeUnseen(
    statements: StatementRunner,
    keyHashes: readonly bigint[],
    messages: readonly StagedMessage[],
    birth: Birth,
  ): Promise<readonly WrittenMessage[]> {
    const { lock, count } = await this.lockOf(statements, keyHashes);
    const insert = this.insertOf(messages, birth, UNSEEN);
    const all = [lock, count === 1 ? CHECK_ONE : checkOf(count), insert.statement];
    try {
      const [locks] = await statements.finish!(all, () => this.proofOf(messages));
      this.learn(birth, locks as LockRow[]);
    } catch (error) {
      throw sqlStateOf(error) === LOCKS_MISSING ? this.locksMissing(count, error) : error;
    }
    return insert.written;
  }

  /** @returns whether the transaction sees what was committed before */
  private async lockKeys(
    statements: StatementRunner,
    keyHashes: readonly bigint[],
    birth: Birth,
  ): Promise<boolean> {
    const { lock, count } = await this.lockOf(statements, keyHashes);
    const rows = (await statements.query(lock.sql, lock.parameters)) as LockRow[];
    if (rows.length !== count) throw this.locksMissing(count);
    this.learn(birth, rows);
    return seesCommitted(birth.isolation ?? rows[0]?.isolation ?? '');
  }

  private async lockOf(
    statements: StatementRunner,
    keyHashes: readonly bigint[],
  ): Promise<{ lock: Statement; count: number }> {
    const { isolationVariable } = await this.server(statements);
    const buckets = [...new Set(keyHashes.map(bucketOf))].sort((a, b) => a - b);
    const select = `SELECT bucket, ${isolationVariable} AS isolation FROM ${this.names.key} FORCE INDEX (PRIMARY)`;
    const lock =
      buckets.length === 1
        ? (this.lockOne ??= hotStatement(`${select} WHERE bucket = ? FOR UPDATE`))(buckets)
        : {
            sql: `${select} WHERE bucket IN (${integers(buckets)}) ORDER BY bucket FOR UPDATE`,
            parameters: [],
          };
    return { lock, count: buckets.length };
  }

  private learn({ isolation }: Birth, [row]: readonly LockRow[]): void {
    if (isolation === null && row !== undefined) this.sessionsSee = seesCommitted(row.isolation);
  }

  private locksMissing(count: number, cause?: unknown): SchemaMismatchError {
    return new SchemaMismatchError(
      `${this.names.key} lacks some of the ${count} lock rows that are needed, so the order of keys is not safe. They are ` +
        `made by outboxMigrations(): insert the numbers 0 to ${KEY_BUCKETS - 1} again.`,
      { cause },
    );
  }

  private insertOf(messages: readonly StagedMessage[], birth: Birth, keys: HeldKeys): Insert {
    const taken = new Set(keys.taken);
    const parameters: unknown[] = [];
    const written: WrittenMessage[] = [];
    const rows: string[] = [];
    for (const message of messages) {
      const { keyHash } = message;
      const blocked = keyHash !== null && (!keys.seesCommitted || taken.has(keyHash));
      if (keyHash !== null) taken.add(keyHash);
      written.push({ id: message.id, status: blocked ? 'blocked' : 'pending' });
      rows.push(rowSql(message, birth, blocked));
      parameters.push(...rowParameters(message, birth, blocked));
    }
    return { statement: this.statementOf(messages, rows, parameters), written };
  }

  /** Nearly always it is one message that is due at once: then its text is one of a few. */
  private statementOf(
    messages: readonly StagedMessage[],
    rows: readonly string[],
    parameters: unknown[],
  ): Statement {
    const [message] = messages;
    const isUsual = messages.length === 1 && message?.delayMs === 0 && message.expiresInMs === null;
    if (!isUsual) return { sql: this.insertSql(rows), parameters };
    const [row] = rows as [string];
    let known = this.single.get(row);
    if (known === undefined) {
      known = hotStatement(this.insertSql(rows));
      this.single.set(row, known);
    }
    return known(parameters);
  }

  private insertSql(rows: readonly string[]): string {
    return `INSERT INTO ${this.names.message} (id, transport, destination, type, \`key\`, key_hash, tenant, source, payload,
         content_type, content_encoding, schema_version, headers, status, claims, claim_token, claimed_by,
         created_at, available_at, next_attempt_at, expires_at) VALUES ${rows.join(', ')}`;
  }

  private proofOf([message]: readonly StagedMessage[]): Statement {
    return { sql: `SELECT 1 FROM ${this.names.message} WHERE id = ?`, parameters: [message?.id] };
  }

  /** The keys, among those of the messages, that an earlier message holds. */
  private async heldKeys(
    statements: StatementRunner,
    messages: readonly StagedMessage[],
    sees: boolean,
  ): Promise<ReadonlySet<bigint>> {
    const hashes = new Set(messages.flatMap(({ keyHash }) => (keyHash === null ? [] : [keyHash])));
    if (hashes.size === 0 || !sees) return UNSEEN.taken;
    const rows = (await statements.query(this.queries.held([...hashes]))) as { hash: string }[];
    return new Set(rows.map(({ hash }) => BigInt(hash)));
  }
}

const CHECK_ONE = hotStatement(checkOf(1).sql)([]);

interface LockRow {
  readonly isolation: string;
}

function seesCommitted(isolation: string): boolean {
  return /^READ.(UN)?COMMITTED$/i.test(isolation);
}

function sqlStateOf(error: unknown): unknown {
  return (error as { driverError?: { sqlState?: unknown } } | null)?.driverError?.sqlState;
}

/** Ends the block in which it stands where the SELECT before it has not found all of the locks. */
function checkOf(count: number): Statement {
  const sql = `IF FOUND_ROWS() <> ${count} THEN
  SIGNAL SQLSTATE '${LOCKS_MISSING}' SET MESSAGE_TEXT = 'lock rows are missing';
END IF`;
  return { sql, parameters: [] };
}

function bucketOf(keyHash: bigint): number {
  return Number(BigInt.asUintN(64, keyHash) % BigInt(KEY_BUCKETS));
}

function isLeased(message: StagedMessage, birth: Birth, blocked: boolean): boolean {
  return !blocked && message.delayMs === 0 && birth.leaseMs > 0;
}

function rowSql(message: StagedMessage, birth: Birth, blocked: boolean): string {
  const leased = isLeased(message, birth, blocked);
  const expiresAt =
    message.expiresInMs === null ? 'NULL' : `${NOW} + ${interval(message.delayMs + message.expiresInMs)}`;
  const nextAttemptAt = `${NOW} + ${interval(leased ? birth.leaseMs : message.delayMs)}`;
  // In the order of `rowParameters`.
  return `(?,?,?,?,?,?,?,?,?,?,?,?,?,'${blocked ? 'blocked' : 'pending'}',${leased ? 1 : 0},?,?,
    ${NOW},${NOW} + ${interval(message.delayMs)},${nextAttemptAt},${expiresAt})`;
}

function rowParameters(message: StagedMessage, birth: Birth, blocked: boolean): unknown[] {
  const leased = isLeased(message, birth, blocked);
  return [
    message.id,
    message.transport,
    message.destination,
    message.type,
    message.key,
    message.keyHash === null ? null : message.keyHash.toString(),
    message.tenant,
    message.source,
    message.payload,
    message.contentType,
    message.contentEncoding,
    message.schemaVersion,
    JSON.stringify(message.headers),
    leased ? birth.token : null,
    leased ? fitText(birth.owner, 255) : null,
  ];
}
