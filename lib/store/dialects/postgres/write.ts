import { createHash } from 'node:crypto';

import type { StagedMessage } from '../../../core/message';
import { holdingStatuses } from '../../../core/message-status';
import type { Birth, WrittenMessage } from '../../../core/outbox-store.port';
import type { Statement, StatementRunner } from '../../../core/statement-runner';
import { type Hot, hotStatement } from '../../hot-statement';
import { fitText } from '../../message-limits';
import type { TableNames } from '../../table-names';
import { firstOfKey, hasRowOfKey } from './columns';

/*
 * Order within a key, on PostgreSQL.
 *
 * Two transactions that publish the same key meet at an advisory lock on its digest, taken just before the INSERT and held
 * to the end of the transaction. So the second one gets its `seq` after the first one has committed or rolled back: `seq`
 * is commit order. The lock is a statement of its own, because a statement sees what was committed when it began: the
 * INSERT, begun after the lock was had, sees every earlier message of its key, and knows whether it is the head. In one
 * statement both racers would see an empty key.
 *
 * Under REPEATABLE READ and SERIALIZABLE the whole transaction sees the state of its first statement, long before the lock.
 * It cannot know, so it is never head: it is born blocked, and `promote` decides after its commit. The isolation is read by
 * the INSERT itself, so no round trip is spent on it. CASE keeps the look at the key from running there, where
 * it would only make serialization failures.
 *
 * Locks live in shared memory that all sessions share (some 6,400 by default). A transaction with more keys than KEYS_MAX
 * therefore takes one lock that all keys are under, which every other one holds shared.
 */
const KEYS_MAX = 512;

export class PostgresWriter {
  private readonly gateLock: string;
  private readonly lockAll = hotStatement('SELECT pg_advisory_xact_lock($1::bigint)', []);
  /**
   * The INSERT keeps the plan that is made for it now, perhaps for a table that is empty, and where that is, a scan of it
   * looks cheap: so the planner is told to take the index. That ends with the transaction, of which COMMIT alone is left.
   */
  private readonly lockOne = hotStatement(
    `SELECT pg_advisory_xact_lock_shared($1::bigint), pg_advisory_xact_lock($2::bigint),
       set_config('enable_seqscan', 'off', true)`,
    [],
  );
  private readonly lockSome = hotStatement(
    `SELECT pg_advisory_xact_lock_shared($1::bigint)
 UNION ALL SELECT pg_advisory_xact_lock(hash) FROM unnest($2::bigint[]) AS hash`,
    [],
  );
  /** Whether a key is held, as far as this transaction can know; where no scan of the table is planned, see `lockOne`. */
  private readonly isHeld: (keyHash: string) => string;
  /** The same for each of several, which the planner must not answer by one scan. */
  private readonly isEachHeld: (keyHash: string) => string;
  /** The INSERTs of one message, by what their text depends on. */
  private readonly single = new Map<string, Hot>();

  constructor(
    private readonly names: TableNames,
    onDeadLetter: 'park' | 'skip',
  ) {
    this.gateLock = createHash('sha256')
      .update(`nestjs-outbox ${names.message}`)
      .digest()
      .readBigInt64BE(0)
      .toString();
    const statuses = holdingStatuses(onDeadLetter);
    const ifItSees = (held: string): string =>
      `CASE WHEN current_setting('transaction_isolation') IN ('read committed', 'read uncommitted') THEN ${held} ELSE true END`;
    this.isHeld = (keyHash) => ifItSees(hasRowOfKey(names.message, statuses, keyHash));
    this.isEachHeld = (keyHash) =>
      ifItSees(
        statuses
          .map((status) => `${firstOfKey(names.message, '1', status, keyHash)} IS NOT NULL`)
          .join(' OR '),
      );
  }

  /** One round trip, with COMMIT in it, wherever the connection can do that. */
  async write(
    statements: StatementRunner,
    keyHashes: readonly bigint[],
    chunks: readonly (readonly StagedMessage[])[],
    birth: Birth,
  ): Promise<readonly WrittenMessage[]> {
    const locks = keyHashes.length === 0 ? [] : [this.lock(keyHashes)];
    // Not the last message of many: theirs is another lock, see `lockOne`.
    const alone = chunks.length === 1 && chunks[0]?.length === 1;
    const inserts = chunks.map((messages) => this.insertOf(messages, birth, alone));
    const answers = await send(statements, locks.concat(inserts), () => this.proofOf(chunks));
    const statuses = new Map<string, WrittenMessage['status']>();
    answers.forEach((rows, index) => {
      if (index < locks.length) return;
      for (const { id, status } of rows as WrittenMessage[]) statuses.set(id, status);
    });
    const written: WrittenMessage[] = [];
    for (const messages of chunks) {
      for (const { id, keyHash } of messages) {
        written.push({ id, status: keyHash === null ? 'pending' : (statuses.get(id) ?? 'blocked') });
      }
    }
    return written;
  }

  private proofOf(chunks: readonly (readonly StagedMessage[])[]): Statement {
    return {
      sql: `SELECT 1 FROM ${this.names.message} WHERE id = $1`,
      parameters: [chunks[0]?.[0]?.id],
    };
  }

  private lock(keyHashes: readonly bigint[]): Statement {
    const [first] = keyHashes;
    if (keyHashes.length === 1) return this.lockOne([this.gateLock, String(first)]);
    if (keyHashes.length > KEYS_MAX) return this.lockAll([this.gateLock]);
    return this.lockSome([this.gateLock, keyHashes.map(String)]);
  }

  private insertOf(messages: readonly StagedMessage[], birth: Birth, alone: boolean): Statement {
    const keys = new Set<bigint>();
    for (const { keyHash } of messages) if (keyHash !== null) keys.add(keyHash);
    // A parameter that no row names has no type, and the server refuses it.
    const claims = messages.some((message) => isClaimed(message, birth));
    const parameters: unknown[] = claims ? [birth.token, fitText(birth.owner, 255)] : [];
    for (const message of messages) pushParameters(parameters, message);
    if (keys.size > 0 && !alone) parameters.push(Array.from(keys, String));
    return this.statementOf(messages, birth, claims, alone, parameters);
  }

  /** Nearly always it is one message that is due at once: then its text is one of four. */
  private statementOf(
    messages: readonly StagedMessage[],
    birth: Birth,
    claims: boolean,
    alone: boolean,
    parameters: unknown[],
  ): Statement {
    const [message] = messages;
    if (!alone || message === undefined || message.delayMs > 0 || message.expiresInMs !== null)
      return { sql: this.insertSql(messages, birth, claims, alone), parameters, columns: ANSWER };
    const shape = `${message.keyHash !== null} ${claims ? birth.leaseMs : 0}`;
    let known = this.single.get(shape);
    if (known === undefined) {
      known = hotStatement(this.insertSql(messages, birth, claims, alone), ANSWER);
      this.single.set(shape, known);
    }
    return known(parameters);
  }

  private insertSql(
    messages: readonly StagedMessage[],
    birth: Birth,
    claims: boolean,
    alone: boolean,
  ): string {
    const seen = new Set<bigint>();
    let last = claims ? 2 : 0;
    // By the key itself for one message, so that one plan fits all keys; by a list, so that the text does not grow with it.
    const isHeld = (keyHash: string): string =>
      alone ? this.isHeld(keyHash) : `${keyHash} = ANY (ARRAY(SELECT hash FROM held))`;
    const values = messages.map((message) => {
      const marks = Array.from({ length: PARAMETERS }, () => `$${(last += 1)}`);
      const status = statusOf(message, seen, () => isHeld(`${marks[KEY_HASH]}::bigint`));
      return `(${marks.join(',')},${status},${timesOf(message, birth)})`;
    });
    const held =
      seen.size === 0 || alone
        ? ''
        : `WITH held AS MATERIALIZED (
  SELECT k.hash FROM unnest($${last + 1}::bigint[]) AS k(hash) WHERE ${this.isEachHeld('k.hash')}
)
`;
    return `${held}INSERT INTO ${this.names.message} (${COLUMNS})
VALUES ${values.join(',\n')}${seen.size === 0 ? '' : ' RETURNING id::text AS id, status'}`;
  }
}

/** As the last ones of the transaction where that can be, and else one after the other. */
function send(
  statements: StatementRunner,
  all: readonly Statement[],
  proof: () => Statement,
): Promise<readonly unknown[]> {
  return statements.finish?.(all, proof) ?? inOrder(statements, all);
}

async function inOrder(statements: StatementRunner, all: readonly Statement[]): Promise<readonly unknown[]> {
  const answers: unknown[] = [];
  for (const { sql, parameters } of all) answers.push(await statements.query(sql, parameters));
  return answers;
}

/** In the order of `pushParameters`, `statusOf` and `timesOf`. */
const COLUMNS = `id, transport, destination, type, "key", key_hash, tenant, source, payload, content_type, content_encoding,
  schema_version, headers, status, claims, claim_token, claimed_by, created_at, available_at, next_attempt_at, expires_at`;
/** How many of them `pushParameters` gives, and which is the key's digest. */
const PARAMETERS = 13;
const KEY_HASH = 5;
/** What the INSERT of messages with keys answers; that of others answers nothing. */
const ANSWER = ['id', 'status'];

/** The first one of its key may be the head; the others of the batch wait behind it. */
function statusOf({ keyHash }: StagedMessage, seen: Set<bigint>, isHeld: () => string): string {
  if (keyHash === null) return `'pending'`;
  if (seen.has(keyHash)) return `'blocked'`;
  seen.add(keyHash);
  return `CASE WHEN ${isHeld()} THEN 'blocked' ELSE 'pending' END`;
}

/**
 * The claim and the times. They stand as of a message that is not blocked, since only the statement finds that out: in a
 * blocked row they mean nothing, and `promote` writes them anew.
 */
function timesOf(message: StagedMessage, birth: Birth): string {
  const { delayMs, expiresInMs } = message;
  const after = (milliseconds: number): string =>
    milliseconds === 0
      ? 'statement_timestamp()'
      : `statement_timestamp() + ${milliseconds} * interval '1 millisecond'`;
  const claimed = isClaimed(message, birth);
  const expiry = expiresInMs === null ? 'NULL' : after(delayMs + expiresInMs);
  const claim = claimed ? '1,$1,$2' : '0,NULL,NULL';
  return `${claim},${after(0)},${after(delayMs)},${after(claimed ? birth.leaseMs : delayMs)},${expiry}`;
}

function isClaimed({ delayMs }: StagedMessage, { leaseMs }: Birth): boolean {
  return delayMs === 0 && leaseMs > 0;
}

function pushParameters(parameters: unknown[], message: StagedMessage): void {
  parameters.push(
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
  );
}
