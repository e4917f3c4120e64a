import { createHash } from 'node:crypto';

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
import { MysqlInspection } from './inspection';
import { type Changed, inChunks, interval, marks, NOW, ROWS_MAX } from './columns';
import { MysqlPromotion } from './promotion';
import { MysqlQuarantine } from './quarantine';
import { MysqlQueries } from './queries';
import { MysqlServer } from './server';
import { MysqlWriter } from './write';

/** How long one process waits while another one makes the tables. Seconds. */
const SCHEMA_LOCK_WAIT = 60;

/**
 * MySQL and MariaDB. An UPDATE here returns no rows: what must know which ones it changed locks them first, in a short
 * transaction; see queries.ts for what they look at, and write.ts for the order of keys.
 */
export class MysqlOutbox implements OutboxDialect {
  readonly rowsMax = ROWS_MAX;
  /** Payloads travel as hexadecimal digits, and a packet has 16 MiB by default (64 on MySQL 8). */
  readonly insertBytesMax = 4 * 1_048_576;
  private readonly queries: MysqlQueries;
  private readonly writer: MysqlWriter;
  private readonly inspection: MysqlInspection;
  private readonly promotion: MysqlPromotion;
  private readonly server = MysqlServer.detector();
  private readonly quarantined: MysqlQuarantine;
  private readonly table: string;
  /** Rows that are named by their ids: the optimizer may find it cheaper to scan the table, and would lock all of it. */
  private readonly byId: string;

  constructor(
    private readonly names: TableNames,
    onDeadLetter: 'park' | 'skip',
    private readonly alarmLeaseMs: number,
  ) {
    this.queries = new MysqlQueries(names, onDeadLetter);
    this.inspection = new MysqlInspection(names, onDeadLetter);
    this.writer = new MysqlWriter(names, this.queries, this.server);
    this.promotion = new MysqlPromotion(names, this.queries);
    this.table = names.message;
    this.byId = `${names.message} AS m FORCE INDEX (PRIMARY)`;
    this.quarantined = new MysqlQuarantine(this.queries, this.byId, alarmLeaseMs);
  }

  async verifyServer(statements: StatementRunner): Promise<void> {
    (await this.server(statements)).refuseOld();
  }

  async exclusively(
    database: RelayDataSource,
    work: (statements: StatementRunner) => Promise<void>,
  ): Promise<void> {
    const name = `nestjs-outbox-${createHash('sha256').update(this.names.message).digest('hex').slice(0, 32)}`;
    await database.withRunner(async (statements) => {
      await statements.query(`SELECT GET_LOCK(?, ${SCHEMA_LOCK_WAIT})`, [name]);
      try {
        await work(statements);
      } finally {
        await statements.query('SELECT RELEASE_LOCK(?)', [name]);
      }
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

  claim(
    database: RelayDataSource,
    transports: readonly string[],
    limit: number,
    terms: ClaimTerms,
    dueWithinMs: number,
  ): Promise<readonly ClaimedRow[]> {
    return database.transaction(async (statements) => {
      const due: (ClaimedRow & { due_ms: string })[] = [];
      for (const transport of transports) {
        due.push(
          ...((await statements.query(this.queries.due(terms.claimsMax, limit, dueWithinMs), [
            transport,
          ])) as typeof due),
        );
      }
      if (transports.length > 1) due.sort((a, b) => Number(a.due_ms) - Number(b.due_ms));
      const rows = due.slice(0, limit);
      if (rows.length === 0) return [];
      for (const some of inChunks(rows)) {
        await statements.query(
          `UPDATE ${this.byId} SET m.claim_token = ?, m.claimed_by = ?, m.claims = m.claims + 1,
             m.next_attempt_at = ${NOW} + ${interval(terms.leaseMs)} WHERE m.id IN (${marks(some)})`,
          [terms.token, fitText(terms.owner, 255), ...some.map(({ id }) => id)],
        );
      }
      return rows.map((row) => ({ ...row, claims: Number(row.claims) + 1 }));
    });
  }

  async complete(database: RelayDataSource, ids: readonly string[]): Promise<number> {
    const { affectedRows } = (await database.query(
      `UPDATE ${this.byId} SET m.status = 'sent', m.sent_at = ${NOW}, m.finished_at = ${NOW}, m.claim_token = NULL,
         m.claimed_by = NULL WHERE m.id IN (${marks(ids)}) AND m.status IN ('pending', 'blocked')`,
      [...ids].sort(),
    )) as Changed;
    return affectedRows;
  }

  /** An UPDATE here cannot look at its own table. What looks after it sees all that it did, so no key is left. */
  async completeAndPromote(
    database: RelayDataSource,
    completions: readonly Completion[],
    claim: ClaimTerms,
    ahead: ReadAhead,
  ): Promise<PromotedInChain> {
    await this.complete(
      database,
      completions.map(({ id }) => id),
    );
    const further = await this.promotion.further(database, ahead);
    const keyHashes = completions.flatMap(({ keyHash }) => (keyHash === null ? [] : [keyHash]));
    if (keyHashes.length === 0) return { promoted: 0, claimed: [], ahead: [], further, left: [] };
    const promoted = await this.promotion.promote(database, [...new Set(keyHashes)], claim);
    return {
      ...promoted,
      ahead: await this.promotion.ahead(database, promoted.claimed, ahead),
      further,
      left: [],
    };
  }

  fail(database: RelayDataSource, failures: readonly Failure[]): Promise<readonly string[]> {
    return database.transaction(async (statements) => {
      const rows = (await statements.query(
        `SELECT m.id, m.claim_token FROM ${this.byId} WHERE m.id IN (${marks(failures)}) AND m.status = 'pending'
         ORDER BY m.id FOR UPDATE`,
        failures.map(({ id }) => id),
      )) as { id: string; claim_token: string | null }[];
      const tokens = new Map(rows.map(({ id, claim_token }) => [id, claim_token]));
      const held = failures.filter(({ id, token }) => tokens.get(id) === token);
      const [again, dead] = [
        held.filter((one) => one.retryInMs !== null),
        held.filter((one) => one.retryInMs === null),
      ];
      const errorSql = (some: readonly Failure[]): string =>
        `CASE m.id ${some.map(() => 'WHEN ? THEN ?').join(' ')} END`;
      const errors = (some: readonly Failure[]): string[] =>
        some.flatMap(({ id, error }) => [id, fitText(error, 1_000)]);
      const spent = 'm.attempts = m.attempts + 1, m.claims = 0, m.claim_token = NULL, m.claimed_by = NULL';
      if (again.length > 0) {
        const delays = again.map(({ retryInMs }) => `WHEN ? THEN ${NOW} + ${interval(retryInMs ?? 0)}`);
        await statements.query(
          `UPDATE ${this.byId} SET ${spent}, m.last_error = ${errorSql(again)},
             m.next_attempt_at = CASE m.id ${delays.join(' ')} END WHERE m.id IN (${marks(again)})`,
          [...errors(again), ...again.map(({ id }) => id), ...again.map(({ id }) => id)],
        );
      }
      if (dead.length > 0) {
        await statements.query(
          `UPDATE ${this.byId} SET ${spent}, m.last_error = ${errorSql(dead)}, m.status = 'dead_letter',
             m.dead_at = ${NOW}, m.finished_at = ${NOW}, m.alarm_due_at = ${NOW} + ${interval(this.alarmLeaseMs)}
           WHERE m.id IN (${marks(dead)})`,
          [...errors(dead), ...dead.map(({ id }) => id)],
        );
      }
      return held.map(({ id }) => id);
    });
  }

  async release(database: RelayDataSource, releases: readonly Release[]): Promise<void> {
    const tokens = releases.map(() => 'WHEN ? THEN ?').join(' ');
    const delays = releases.map(({ afterMs }) => `WHEN ? THEN ${NOW} + ${interval(afterMs)}`).join(' ');
    const ids = releases.map(({ id }) => id);
    await database.query(
      `UPDATE ${this.byId} SET m.claims = GREATEST(m.claims - 1, 0), m.claim_token = NULL, m.claimed_by = NULL,
         m.next_attempt_at = CASE m.id ${delays} END
       WHERE m.id IN (${marks(ids)}) AND m.status = 'pending' AND m.claim_token = CASE m.id ${tokens} END`,
      [...ids, ...ids, ...releases.flatMap(({ id, token }) => [id, token])],
    );
  }

  /** Two statements: between them a row may be lost to somebody else, and then it is rightly not in the answer. */
  async extend(
    database: RelayDataSource,
    ids: readonly string[],
    token: string,
    leaseMs: number,
  ): Promise<readonly string[]> {
    const held = `m.id IN (${marks(ids)}) AND m.claim_token = ? AND m.status = 'pending'`;
    const parameters = [...[...ids].sort(), token];
    await database.query(
      `UPDATE ${this.byId} SET m.next_attempt_at = ${NOW} + ${interval(leaseMs)} WHERE ${held}`,
      parameters,
    );
    const rows = (await database.query(`SELECT m.id FROM ${this.byId} WHERE ${held}`, parameters)) as {
      id: string;
    }[];
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
    const rows = (await database.query(this.queries.blockedKeys(from, limit))) as { hash: string }[];
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
    const rows = (await database.query(this.queries.nextDue(transports, claimsMax, dueWithinMs), [
      ...transports,
    ])) as {
      ms: string | null;
    }[];
    const ms = rows[0]?.ms ?? null;
    return ms === null ? null : Math.max(0, Number(ms));
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

  purge(database: RelayDataSource, { status, olderThanMs, limit }: PurgeTerms): Promise<number> {
    return database.transaction(async (statements) => {
      const rows = (await statements.query(this.queries.finished(status, olderThanMs, limit), [status])) as {
        id: string;
      }[];
      let count = 0;
      for (const some of inChunks(rows)) {
        const sql = `DELETE m FROM ${this.byId} WHERE m.id IN (${marks(some)})`;
        count += (
          (await statements.query(
            sql,
            some.map(({ id }) => id),
          )) as Changed
        ).affectedRows;
      }
      return count;
    });
  }

  /** The optimizer's own guess, from a few looks into the index. */
  private async estimateSent(database: RelayDataSource): Promise<number> {
    const rows = (await database.query(
      `EXPLAIN SELECT 1 FROM ${this.table} FORCE INDEX (finished) WHERE status = 'sent'`,
    )) as { rows: string | number }[];
    return Number(rows[0]?.rows ?? 0);
  }
}
