import { Logger } from '@nestjs/common';

import type { Clock } from '../core/clock';
import { InvalidMessageError, OutboxConfigurationError } from '../core/errors';
import type { ClaimedMessage, MessageRecord, StagedMessage } from '../core/message';
import type {
  Birth,
  Chained,
  ClaimTerms,
  Completion,
  Failure,
  MessageSituation,
  OutboxStore,
  PurgeTerms,
  ReadAhead,
  Release,
  StoreStats,
  WrittenMessage,
} from '../core/outbox-store.port';
import type { StatementRunner } from '../core/statement-runner';
import { chunksOf, insertableChunks } from './chunks';
import { ClaimWindows } from './claim-windows';
import { duplicateIdOf, retryTransient } from './database-errors';
import type { Notifications, OutboxDialect } from './dialects/dialect.port';
import { type ClaimedRow, toClaimed, toRecord, toSituation } from './message-row';
import { checkMessage, isMessageId } from './message-limits';
import { toAhead } from './read-ahead';
import type { RelayDataSource } from './relay-data-source';

/** Digests are signed: this is the first one. */
const FIRST_HASH = -(2n ** 63n);
const SWEEP_KEYS = 1_000;
/** A sweep ends after so many looks, or so long; the next one goes on where it ended. */
const SWEEP_ROUNDS_MAX = 50;
const SWEEP_MS_MAX = 250;

/** What a store works with. */
export interface StoreParts {
  readonly database: RelayDataSource;
  readonly outbox: OutboxDialect;
  /** null: the server cannot wake another process. */
  readonly notifications: Notifications | null;
  readonly clock: Clock;
  readonly verify: () => Promise<void>;
}

/** The outbox in a database that TypeORM is connected to. The SQL is the dialect's; what happens is here. */
export class TypeOrmOutboxStore implements OutboxStore {
  readonly canNotify: boolean;
  private readonly logger = new Logger('OutboxStore');
  /** Where the next sweep goes on: so that each is short, and all keys have their turn. */
  private sweepFrom = FIRST_HASH;
  /** Of the latest claim: what it leaves out is not due. */
  private claimsMax = 2_147_483_647;
  private readonly windows: ClaimWindows;

  constructor(private readonly parts: StoreParts) {
    this.windows = new ClaimWindows(parts.clock);
    this.canNotify = parts.notifications !== null;
  }

  verify(): Promise<void> {
    return this.parts.verify();
  }

  async write(
    statements: StatementRunner,
    messages: readonly StagedMessage[],
    birth: Birth,
  ): Promise<readonly WrittenMessage[]> {
    const { outbox } = this.parts;
    const hashes = new Set<bigint>();
    for (const message of messages) {
      checkMessage(message);
      if (message.keyHash !== null) hashes.add(message.keyHash);
    }
    const sorted = [...hashes].sort((a, b) => (a < b ? -1 : 1));
    const chunks = insertableChunks(messages, outbox.rowsMax, outbox.insertBytesMax);
    try {
      return await outbox.write(statements, sorted, chunks, birth);
    } catch (error) {
      const id = duplicateIdOf(error);
      if (id === null) throw error;
      const message = messages.find((one) => one.id === id) ?? messages[0];
      throw new InvalidMessageError(
        message?.type ?? '',
        'id',
        `${id} is taken: another message in the outbox has it. Give each message an id of its own, or none.`,
        { cause: error },
      );
    }
  }

  async claim(
    transports: readonly string[],
    limit: number,
    terms: ClaimTerms,
  ): Promise<readonly ClaimedMessage[]> {
    this.claimsMax = terms.claimsMax;
    if (transports.length === 0 || limit < 1) return [];
    const { database, outbox, clock } = this.parts;
    return retryTransient(async () => {
      // Read before the statement is sent, so the lease here never outlasts the one in the database.
      const leaseEndsAtMs = clock.monotonicMs() + terms.leaseMs;
      const { dueWithinMs, exhausted } = this.windows.ofClaim(transports);
      const rows = await outbox.claim(database, transports, limit, terms, dueWithinMs);
      if (rows.length < limit) exhausted();
      return toClaimed(rows, terms.token, leaseEndsAtMs, this.unreadable);
    });
  }

  async complete(ids: readonly string[]): Promise<number> {
    const counts = await this.eachChunk(ids, (some) => this.parts.outbox.complete(this.parts.database, some));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async completeAndPromote(
    completions: readonly Completion[],
    claim: ClaimTerms,
    ahead: ReadAhead,
  ): Promise<Chained> {
    const { outbox, database, clock } = this.parts;
    const results = await this.eachChunk(completions, async (some) => {
      const leaseEndsAtMs = clock.monotonicMs() + claim.leaseMs;
      // Once, and not with each chunk.
      const read = some[0] === completions[0] ? ahead : { ...ahead, behind: [] };
      const rows = await outbox.completeAndPromote(database, some, claim, read);
      return {
        ...rows,
        claimed: toClaimed(rows.claimed, claim.token, leaseEndsAtMs, this.unreadable),
        ahead: toAhead(rows.ahead, claim.token, leaseEndsAtMs),
        further: toAhead(rows.further, claim.token, leaseEndsAtMs),
      };
    });
    return {
      promoted: results.reduce((sum, { promoted }) => sum + promoted, 0),
      claimed: results.flatMap(({ claimed }) => claimed),
      ahead: results.flatMap((result) => result.ahead),
      further: results.flatMap(({ further }) => further),
      left: results.flatMap(({ left }) => left),
    };
  }

  async fail(failures: readonly Failure[]): Promise<readonly string[]> {
    return (
      await this.eachChunk(failures, (some) => this.parts.outbox.fail(this.parts.database, some))
    ).flat();
  }

  async release(releases: readonly Release[]): Promise<void> {
    await this.eachChunk(releases, (some) => this.parts.outbox.release(this.parts.database, some));
  }

  async extend(ids: readonly string[], token: string, leaseMs: number): Promise<readonly string[]> {
    const { outbox, database } = this.parts;
    return (await this.eachChunk(ids, (some) => outbox.extend(database, some, token, leaseMs))).flat();
  }

  async promote(
    keyHashes: readonly bigint[],
    claim: ClaimTerms | null,
  ): Promise<{ promoted: number; claimed: readonly ClaimedMessage[] }> {
    const { outbox, database, clock } = this.parts;
    const results = await this.eachChunk([...new Set(keyHashes)], async (some) => {
      const leaseEndsAtMs = clock.monotonicMs() + (claim?.leaseMs ?? 0);
      const { promoted, claimed } = await outbox.promote(database, some, claim);
      return {
        promoted,
        claimed: claim === null ? [] : toClaimed(claimed, claim.token, leaseEndsAtMs, this.unreadable),
      };
    });
    return {
      promoted: results.reduce((sum, { promoted }) => sum + promoted, 0),
      claimed: results.flatMap(({ claimed }) => claimed),
    };
  }

  async sweep(limit: number): Promise<number> {
    const { outbox, database, clock } = this.parts;
    const endsAtMs = clock.monotonicMs() + SWEEP_MS_MAX;
    let promoted = 0;
    for (let round = 0; round < SWEEP_ROUNDS_MAX && promoted < limit; round += 1) {
      if (clock.monotonicMs() > endsAtMs) break;
      const keys = await outbox.blockedKeys(database, this.sweepFrom, Math.min(SWEEP_KEYS, limit - promoted));
      const last = keys.at(-1);
      if (last === undefined) {
        // The end: the next sweep begins anew.
        this.sweepFrom = FIRST_HASH;
        break;
      }
      promoted += (await this.promote(keys, null)).promoted;
      this.sweepFrom = last + 1n;
    }
    if (promoted > 0) this.logger.log(`Promoted ${promoted} blocked messages whose predecessors were gone`);
    return promoted;
  }

  async quarantine(claimsMax: number, limit: number): Promise<readonly MessageRecord[]> {
    const { outbox, database } = this.parts;
    return (await retryTransient(() => outbox.quarantine(database, claimsMax, limit))).map(toRecord);
  }

  async nextDueInMs(transports: readonly string[]): Promise<number | null> {
    if (transports.length === 0) return null;
    const { dueWithinMs } = this.windows.ofClaim(transports);
    return this.parts.outbox.nextDueInMs(this.parts.database, transports, this.claimsMax, dueWithinMs);
  }

  stats(): Promise<StoreStats> {
    return this.parts.outbox.stats(this.parts.database);
  }

  async inspect(id: string): Promise<MessageSituation | null> {
    if (!isMessageId(id)) return null;
    return toSituation(
      id.toLowerCase(),
      await this.parts.outbox.inspect(this.parts.database, id.toLowerCase()),
    );
  }

  purge(terms: PurgeTerms): Promise<number> {
    return retryTransient(() => this.parts.outbox.purge(this.parts.database, terms));
  }

  async notify(): Promise<void> {
    await this.notifications().notify();
  }

  async listen(onNotify: () => void): Promise<() => Promise<void>> {
    return this.notifications().listen(onNotify);
  }

  async close(): Promise<void> {
    await this.parts.notifications?.close();
    await this.parts.database.close();
  }

  private readonly unreadable = ({ id, type }: ClaimedRow): void => {
    this.logger.error(
      `Message ${id} (${type}) cannot be sent: its row was changed, and its headers are no JSON object`,
    );
  };

  private notifications(): Notifications {
    if (this.parts.notifications !== null) return this.parts.notifications;
    throw new OutboxConfigurationError('relay.listen', 'this database cannot notify; ask canNotify first.');
  }

  private async eachChunk<T, Result>(
    values: readonly T[],
    work: (some: readonly T[]) => Promise<Result>,
  ): Promise<Result[]> {
    const results: Result[] = [];
    for (const some of chunksOf(values, this.parts.outbox.rowsMax)) {
      results.push(await retryTransient(() => work(some)));
    }
    return results;
  }
}
