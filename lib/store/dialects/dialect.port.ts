import type { HeardAlarm } from '../../core/alarm.port';
import type { DeadLetterFilter } from '../../core/dead-letter-store.port';
import type { InboxEntry } from '../../core/inbox-store.port';
import type { StagedMessage } from '../../core/message';
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
} from '../../core/outbox-store.port';
import type { StatementRunner } from '../../core/statement-runner';
import type { ClaimedRow, RecordRow, SituationRow, WaitedForRow } from '../message-row';
import type { RelayDataSource } from '../relay-data-source';

/**
 * What a server speaks. The stores know what is to happen; a dialect knows the SQL for it, and in how many statements.
 *
 * Concurrency contract: as the ports of the core, whose methods these are, method by method. Statements are sent READ
 * COMMITTED except those that run on the caller's transaction. Transient errors pass through: the stores try again.
 */
export interface OutboxDialect {
  /** One statement names at most so many rows: stores cut longer lists. */
  readonly rowsMax: number;
  /** One INSERT has at most so many bytes of payloads. */
  readonly insertBytesMax: number;

  /** Rejects with UnsupportedDatabaseError when the server is too old. */
  verifyServer(statements: StatementRunner): Promise<void>;
  /** Runs work while no other process does the same. */
  exclusively(database: RelayDataSource, work: (statements: StatementRunner) => Promise<void>): Promise<void>;

  /**
   * Takes the locks of these keys until the caller's transaction ends, then inserts. Keys are sorted, so that no two
   * transactions deadlock. Each chunk fits into one statement.
   */
  write(
    statements: StatementRunner,
    keyHashes: readonly bigint[],
    chunks: readonly (readonly StagedMessage[])[],
    birth: Birth,
  ): Promise<readonly WrittenMessage[]>;

  /** @param dueWithinMs rows that became due longer ago are left out */
  claim(
    database: RelayDataSource,
    transports: readonly string[],
    limit: number,
    terms: ClaimTerms,
    dueWithinMs: number,
  ): Promise<readonly ClaimedRow[]>;
  complete(database: RelayDataSource, ids: readonly string[]): Promise<number>;
  completeAndPromote(
    database: RelayDataSource,
    completions: readonly Completion[],
    claim: ClaimTerms,
    ahead: ReadAhead,
  ): Promise<PromotedInChain>;
  fail(database: RelayDataSource, failures: readonly Failure[]): Promise<readonly string[]>;
  release(database: RelayDataSource, releases: readonly Release[]): Promise<void>;
  extend(
    database: RelayDataSource,
    ids: readonly string[],
    token: string,
    leaseMs: number,
  ): Promise<readonly string[]>;

  promote(
    database: RelayDataSource,
    keyHashes: readonly bigint[],
    claim: ClaimTerms | null,
  ): Promise<Promoted>;
  /** The next keys, in the order of their digests, that have a blocked row. */
  blockedKeys(database: RelayDataSource, from: bigint, limit: number): Promise<readonly bigint[]>;
  quarantine(database: RelayDataSource, claimsMax: number, limit: number): Promise<readonly RecordRow[]>;

  nextDueInMs(
    database: RelayDataSource,
    transports: readonly string[],
    claimsMax: number,
    dueWithinMs: number,
  ): Promise<number | null>;
  stats(database: RelayDataSource): Promise<StoreStats>;
  /** The row that was asked for, then those that hold it, first in each status; empty: no such row. */
  inspect(database: RelayDataSource, id: string): Promise<readonly SituationRow[]>;
  purge(database: RelayDataSource, terms: PurgeTerms): Promise<number>;
}

export interface Promoted {
  readonly promoted: number;
  /** Those that the claim took. */
  readonly claimed: readonly ClaimedRow[];
}

export interface PromotedInChain extends Promoted {
  /** What follows those in their keys. */
  readonly ahead: readonly ClaimedRow[];
  /** What follows those that were read ahead earlier. */
  readonly further: readonly ClaimedRow[];
  readonly left: readonly bigint[];
}

export interface DeadLetterDialect {
  list(
    database: RelayDataSource,
    filter: DeadLetterFilter,
    limit: number,
    after: bigint | null,
  ): Promise<readonly WaitedForRow[]>;
  count(database: RelayDataSource, filter: DeadLetterFilter): Promise<number>;
  get(database: RelayDataSource, id: string): Promise<WaitedForRow | null>;
  redrive(database: RelayDataSource, filter: DeadLetterFilter, limit: number): Promise<readonly MovedRow[]>;
  discard(database: RelayDataSource, filter: DeadLetterFilter, limit: number): Promise<readonly MovedRow[]>;
}

/** However long a dead letter's alarm is not heard, it rings again after so long. */
export const ALARM_PAUSE_MAX_MS = 300_000;

export interface AlarmDialect {
  takeDue(database: RelayDataSource, limit: number): Promise<readonly RecordRow[]>;
  heard(database: RelayDataSource, alarms: readonly HeardAlarm[]): Promise<void>;
}

export interface MovedRow {
  readonly id: string;
  readonly key_hash: string | null;
}

export interface InboxDialect {
  /** Entries are distinct and sorted. @param waitMs how long to wait for a concurrent add, null: as long as the session does. */
  add(
    statements: StatementRunner,
    entries: readonly InboxEntry[],
    waitMs: number | null,
  ): Promise<readonly InboxEntry[]>;
  purge(database: RelayDataSource, olderThanMs: number, limit: number): Promise<number>;
}

/** Wakes processes. Only where the server can. */
export interface Notifications {
  notify(): Promise<void>;
  listen(onNotify: () => void): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

export interface Dialect {
  readonly outbox: OutboxDialect;
  readonly deadLetters: DeadLetterDialect;
  readonly alarms: AlarmDialect;
  readonly inbox: InboxDialect;
}
