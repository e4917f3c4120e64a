import { createHash } from 'node:crypto';

import { UnsupportedDatabaseError } from '../../../core/errors';
import type { StagedMessage } from '../../../core/message';
import type {
  Birth,
  ClaimTerms,
  Completion,
  Failure,
  PurgeTerms,
  ReadAhead,
  Release,
  StoreStats,
  WrittenMessage,
} from '../../../core/outbox-store.port';
import type { StatementRunner } from '../../../core/statement-runner';
import { fitText } from '../../message-limits';
import type { ClaimedRow, RecordRow, SituationRow } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import { type StatsRow, toStats } from '../../stats-row';
import type { TableNames } from '../../table-names';
import type { OutboxDialect, Promoted, PromotedInChain } from '../dialect.port';
import { PostgresInspection } from './inspection';
import type { Changed } from './columns';
import { PostgresPromotion } from './promotion';
import { PostgresQuarantine } from './quarantine';
import { PostgresQueries } from './queries';
import { type RelayStatements, relayStatements } from './relay-statements';
import { PostgresWriter } from './write';

/** The first release with everything that the schema asks for. */
const VERSION_MIN = 130_000;

/** PostgreSQL, each method in one statement; see queries.ts for what they look at, and write.ts for the order of keys. */
export class PostgresOutbox implements OutboxDialect {
  /** The protocol counts 65,535 parameters, and an INSERT has 16 a row. */
  readonly rowsMax = 2_000;
  readonly insertBytesMax = 64 * 1_048_576;
  private readonly queries: PostgresQueries;
  private readonly hot: RelayStatements;
  private readonly promotion: PostgresPromotion;
  private readonly quarantined: PostgresQuarantine;
  private readonly writer: PostgresWriter;
  private readonly inspection: PostgresInspection;

  constructor(
    private readonly names: TableNames,
    onDeadLetter: 'park' | 'skip',
    private readonly alarmLeaseMs: number,
  ) {
    this.queries = new PostgresQueries(names, onDeadLetter);
    this.hot = relayStatements(names, this.queries);
    this.inspection = new PostgresInspection(names, onDeadLetter);
    this.promotion = new PostgresPromotion(names, this.queries);
    this.quarantined = new PostgresQuarantine(names, this.queries, alarmLeaseMs);
    this.writer = new PostgresWriter(names, onDeadLetter);
  }

  async verifyServer(statements: StatementRunner): Promise<void> {
    const rows = (await statements.query(
      `SELECT current_setting('server_version_num') AS number, current_setting('server_version') AS version`,
    )) as { number: string; version: string }[];
    if (Number(rows[0]?.number) >= VERSION_MIN) return;
    throw new UnsupportedDatabaseError(
      'postgres',
      `nestjs-outbox needs PostgreSQL 13 or newer; this is ${rows[0]?.version}.`,
    );
  }

  async exclusively(
    database: RelayDataSource,
    work: (statements: StatementRunner) => Promise<void>,
  ): Promise<void> {
    const lock = createHash('sha256')
      .update(`nestjs-outbox schema ${this.names.message}`)
      .digest()
      .readBigInt64BE(0);
    await database.transaction(async (statements) => {
      await statements.query('SELECT pg_advisory_xact_lock($1::bigint)', [lock.toString()]);
      await work(statements);
    });
  }

  write(
    statements: StatementRunner,
    keyHashes: readonly bigint[],
    chunks: readonly (readonly StagedMessage[])[],
    birth: Birth,
  ): Promise<readonly WrittenMessage[]> {
    return this.writer.write(statements, keyHashes, chunks, birth);
  }

  async claim(
    database: RelayDataSource,
    transports: readonly string[],
    limit: number,
    { token, owner, leaseMs, claimsMax }: ClaimTerms,
    dueWithinMs: number,
  ): Promise<readonly ClaimedRow[]> {
    const [rows] = (await database.execute(
      this.hot.claim([token, fitText(owner, 255), leaseMs, transports, claimsMax, limit, dueWithinMs]),
    )) as Changed<ClaimedRow>;
    return rows;
  }

  complete(database: RelayDataSource, ids: readonly string[]): Promise<number> {
    return this.promotion.complete(database, ids);
  }

  completeAndPromote(
    database: RelayDataSource,
    completions: readonly Completion[],
    claim: ClaimTerms,
    ahead: ReadAhead,
  ): Promise<PromotedInChain> {
    return this.promotion.completeAndPromote(database, completions, claim, ahead);
  }

  async fail(database: RelayDataSource, failures: readonly Failure[]): Promise<readonly string[]> {
    const [rows] = (await database.execute(
      this.hot.fail([
        failures.map(({ id }) => id),
        failures.map(({ token }) => token),
        failures.map(({ error }) => fitText(error, 1_000)),
        failures.map(({ retryInMs }) => retryInMs),
        this.alarmLeaseMs,
      ]),
    )) as Changed<{ id: string }>;
    return rows.map(({ id }) => id);
  }

  async release(database: RelayDataSource, releases: readonly Release[]): Promise<void> {
    await database.execute(
      this.hot.release([
        releases.map(({ id }) => id),
        releases.map(({ token }) => token),
        releases.map(({ afterMs }) => afterMs),
      ]),
    );
  }

  async extend(
    database: RelayDataSource,
    ids: readonly string[],
    token: string,
    leaseMs: number,
  ): Promise<readonly string[]> {
    const [rows] = (await database.execute(this.hot.extend([[...ids].sort(), token, leaseMs]))) as Changed<{
      id: string;
    }>;
    return rows.map(({ id }) => id);
  }

  promote(
    database: RelayDataSource,
    keyHashes: readonly bigint[],
    claim: ClaimTerms | null,
  ): Promise<Promoted> {
    return this.promotion.promote(database, keyHashes, claim);
  }

  async blockedKeys(database: RelayDataSource, from: bigint, limit: number): Promise<readonly bigint[]> {
    const rows = (await database.query(this.queries.blockedKeys('$1::bigint', '$2::int'), [
      from.toString(),
      limit,
    ])) as {
      hash: string;
    }[];
    return rows.map(({ hash }) => BigInt(hash));
  }

  quarantine(database: RelayDataSource, claimsMax: number, limit: number): Promise<readonly RecordRow[]> {
    return this.quarantined.take(database, claimsMax, limit);
  }

  async nextDueInMs(
    database: RelayDataSource,
    transports: readonly string[],
    claimsMax: number,
    dueWithinMs: number,
  ): Promise<number | null> {
    const rows = (await database.execute(this.hot.nextDue([transports, claimsMax, dueWithinMs]))) as {
      ms: number | null;
    }[];
    return rows[0]?.ms ?? null;
  }

  async stats(database: RelayDataSource): Promise<StoreStats> {
    const sql = this.queries.stats(this.inspection.parked);
    const [row] = (await database.query(sql)) as [StatsRow];
    const exact = Number(row.sent);
    return toStats(
      row,
      exact > this.queries.sentExactMax ? Math.max(exact, await this.estimateSent(database)) : exact,
    );
  }

  inspect(database: RelayDataSource, id: string): Promise<readonly SituationRow[]> {
    return this.inspection.inspect(database, id);
  }

  async purge(database: RelayDataSource, { status, olderThanMs, limit }: PurgeTerms): Promise<number> {
    const [, count] = (await database.query(
      `DELETE FROM ${this.names.message} WHERE ctid = ANY (ARRAY(${this.queries.finished('$1', '$2', '$3::int')}))`,
      [status, olderThanMs, limit],
    )) as Changed;
    return count;
  }

  /** The planner's own guess, which it makes from the last ANALYZE and the table's size. */
  private async estimateSent(database: RelayDataSource): Promise<number> {
    const rows = (await database.query(
      `EXPLAIN (FORMAT JSON) SELECT FROM ${this.names.message} WHERE status = 'sent'`,
    )) as { 'QUERY PLAN': string | { Plan: { 'Plan Rows': number } }[] }[];
    const plan = rows[0]?.['QUERY PLAN'] ?? [];
    const parsed = (typeof plan === 'string' ? JSON.parse(plan) : plan) as {
      Plan: { 'Plan Rows': number };
    }[];
    return parsed[0]?.Plan['Plan Rows'] ?? 0;
  }
}
