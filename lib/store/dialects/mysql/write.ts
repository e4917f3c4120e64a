import { SchemaMismatchError } from '../../../core/errors';
import type { StagedMessage } from '../../../core/message';
import type { Birth, WrittenMessage } from '../../../core/outbox-store.port';
import type { StatementRunner } from '../../../core/statement-runner';
import { fitText } from '../../message-limits';
import { KEY_BUCKETS } from '../../migrations/schema-version';
import type { TableNames } from '../../table-names';
import { integer, integers, interval, NOW } from './columns';
import type { MysqlQueries } from './queries';
import type { MysqlServer } from './server';

interface KeyLocks {
  /** Whether a fresh statement of this transaction sees all that was committed before the locks were taken. */
  readonly seesCommitted: boolean;
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
 */
export class MysqlWriter {
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
    const locks =
      keyHashes.length === 0 ? { seesCommitted: true } : await this.lockKeys(statements, keyHashes, birth);
    const written: WrittenMessage[] = [];
    for (const messages of chunks) written.push(...(await this.insert(statements, messages, birth, locks)));
    return written;
  }

  private async lockKeys(
    statements: StatementRunner,
    keyHashes: readonly bigint[],
    birth: Birth,
  ): Promise<KeyLocks> {
    const { isolationVariable } = await this.server(statements);
    const buckets = [...new Set(keyHashes.map(bucketOf))].sort((a, b) => a - b);
    const rows = (await statements.query(
      `SELECT bucket, ${isolationVariable} AS isolation FROM ${this.names.key} FORCE INDEX (PRIMARY)
       WHERE bucket IN (${integers(buckets)}) ORDER BY bucket FOR UPDATE`,
    )) as { isolation: string }[];
    if (rows.length !== buckets.length) {
      throw new SchemaMismatchError(
        `${this.names.key} has ${rows.length} of the ${buckets.length} lock rows that are needed, so the order of keys is ` +
          `not safe. They are made by outboxMigrations(): insert the numbers 0 to ${KEY_BUCKETS - 1} again.`,
      );
    }
    const isolation = (birth.isolation ?? rows[0]?.isolation ?? '').toUpperCase().replace('-', ' ');
    return { seesCommitted: isolation === 'READ COMMITTED' || isolation === 'READ UNCOMMITTED' };
  }

  private async insert(
    statements: StatementRunner,
    messages: readonly StagedMessage[],
    birth: Birth,
    locks: KeyLocks,
  ): Promise<readonly WrittenMessage[]> {
    const taken = await this.heldKeys(statements, messages, locks);
    const parameters: unknown[] = [];
    const written: WrittenMessage[] = [];
    const rows: string[] = [];
    for (const message of messages) {
      const { keyHash } = message;
      const blocked = keyHash !== null && (!locks.seesCommitted || taken.has(keyHash));
      if (keyHash !== null) taken.add(keyHash);
      written.push({ id: message.id, status: blocked ? 'blocked' : 'pending' });
      rows.push(rowSql(message, birth, blocked));
      parameters.push(...rowParameters(message, birth, blocked));
    }
    await statements.query(
      `INSERT INTO ${this.names.message} (id, transport, destination, type, \`key\`, key_hash, tenant, source, payload,
         content_type, content_encoding, schema_version, headers, status, claims, claim_token, claimed_by,
         created_at, available_at, next_attempt_at, expires_at) VALUES ${rows.join(', ')}`,
      parameters,
    );
    return written;
  }

  /** The keys, among those of the messages, that an earlier message holds. */
  private async heldKeys(
    statements: StatementRunner,
    messages: readonly StagedMessage[],
    locks: KeyLocks,
  ): Promise<Set<bigint>> {
    const hashes = new Set(messages.flatMap(({ keyHash }) => (keyHash === null ? [] : [keyHash])));
    if (hashes.size === 0 || !locks.seesCommitted) return new Set();
    const rows = (await statements.query(this.queries.held([...hashes]))) as { hash: string }[];
    return new Set(rows.map(({ hash }) => BigInt(hash)));
  }
}

function bucketOf(keyHash: bigint): number {
  return Number(BigInt.asUintN(64, keyHash) % BigInt(KEY_BUCKETS));
}

function isLeased(message: StagedMessage, birth: Birth, blocked: boolean): boolean {
  return !blocked && message.delayMs === 0 && birth.leaseMs > 0;
}

function rowSql(message: StagedMessage, birth: Birth, blocked: boolean): string {
  const leased = isLeased(message, birth, blocked);
  const keyHash = message.keyHash === null ? 'NULL' : integer(message.keyHash);
  const expiresAt =
    message.expiresInMs === null ? 'NULL' : `${NOW} + ${interval(message.delayMs + message.expiresInMs)}`;
  const nextAttemptAt = `${NOW} + ${interval(leased ? birth.leaseMs : message.delayMs)}`;
  // id, transport, destination, type, key; hash; tenant, source, payload, content type and encoding, schema, headers
  return `(?,?,?,?,?,${keyHash},?,?,?,?,?,?,?,'${blocked ? 'blocked' : 'pending'}',${leased ? 1 : 0},?,?,
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
