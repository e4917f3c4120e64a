import type { StagedMessage } from '../../../lib/core/message';
import type { ClaimedMessage, MessageRecord } from '../../../lib/core/message';
import { holdingStatuses, mayMove, type MessageStatus } from '../../../lib/core/message-status';
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
} from '../../../lib/core/outbox-store.port';
import { type FakeDatabase } from './fake-database';
import { claimedFrom, type FakeRow, recordFrom, waitingBehind } from './fake-rows';
import type { FakeTransaction } from './fake-transaction';

/**
 * The outbox table in memory, true to the port's contract: rows are seen when committed, a key's lock is held from before
 * the insert to the end of its transaction, statements are atomic and take their time, and every fence is asked.
 */
export class FakeStore implements OutboxStore {
  canNotify = true;
  closed = false;

  constructor(
    readonly database: FakeDatabase,
    private readonly onDeadLetter: 'park' | 'skip' = 'park',
  ) {}

  verify(): Promise<void> {
    return Promise.resolve();
  }

  async write(
    statements: FakeTransaction,
    messages: readonly StagedMessage[],
    birth: Birth,
  ): Promise<readonly WrittenMessage[]> {
    const keys = [...new Set(messages.flatMap(({ keyHash }) => (keyHash === null ? [] : [keyHash])))];
    for (const key of keys.sort()) await this.database.lockKey(key, statements);
    const stale = birth.isolation !== null && birth.isolation !== 'READ COMMITTED';
    return this.database.statement('write', () =>
      messages.map((message) => {
        const row = this.insert(message, birth, stale);
        statements.rows.push(row);
        return { id: message.id, status: row.status as 'pending' | 'blocked' };
      }),
    );
  }

  claim(transports: readonly string[], limit: number, terms: ClaimTerms): Promise<readonly ClaimedMessage[]> {
    const startedMs = this.database.clock.monotonicMs();
    return this.database.statement('claim', () =>
      this.due(transports, terms.claimsMax)
        .slice(0, limit)
        .map((row) => this.take(row, terms, startedMs)),
    );
  }

  complete(ids: readonly string[]): Promise<number> {
    return this.database.statement('complete', () => this.send(ids));
  }

  completeAndPromote(
    completions: readonly Completion[],
    claim: ClaimTerms,
    ahead: ReadAhead,
  ): Promise<Chained> {
    const startedMs = this.database.clock.monotonicMs();
    return this.database.statement('completeAndPromote', () => {
      this.send(completions.map(({ id }) => id));
      const keys = completions.flatMap(({ keyHash }) => (keyHash === null ? [] : [keyHash]));
      const heads = keys.flatMap((keyHash) => this.promotable(keyHash));
      const left = keys.filter((key) => !heads.some(({ message }) => message.keyHash === key));
      const promoted = this.promoteRows(heads, claim, startedMs);
      const taken = heads.filter(({ token }) => token === claim.token);
      const read = this.visible().filter(({ message }) => ahead.behind?.includes(message.id) ?? false);
      return {
        ...promoted,
        left,
        ahead: taken.flatMap((head) => this.ahead(head, claim, ahead, startedMs)),
        further: read.flatMap((last) => this.ahead(last, claim, ahead, startedMs)),
      };
    });
  }

  fail(failures: readonly Failure[]): Promise<readonly string[]> {
    return this.database.statement('fail', () =>
      failures.flatMap(({ id, token, error, retryInMs }) =>
        this.held(id, token).map((row) => {
          row.attempts += 1;
          row.claims = 0;
          row.error = error;
          if (retryInMs === null) this.finish(row, 'dead_letter');
          else this.free(row, retryInMs);
          return id;
        }),
      ),
    );
  }

  release(releases: readonly Release[]): Promise<void> {
    return this.database.statement('release', () => {
      for (const { id, token, afterMs } of releases) {
        for (const row of this.held(id, token)) {
          row.claims = Math.max(0, row.claims - 1);
          this.free(row, afterMs);
        }
      }
    });
  }

  extend(ids: readonly string[], token: string, leaseMs: number): Promise<readonly string[]> {
    return this.database.statement('extend', () =>
      ids.flatMap((id) =>
        this.held(id, token).map((row) => {
          row.nextAttemptMs = this.database.nowMs + leaseMs;
          return id;
        }),
      ),
    );
  }

  promote(
    keyHashes: readonly bigint[],
    claim: ClaimTerms | null,
  ): Promise<{ promoted: number; claimed: readonly ClaimedMessage[] }> {
    const startedMs = this.database.clock.monotonicMs();
    return this.database.statement('promote', () => {
      const heads = keyHashes.flatMap((keyHash) => this.promotable(keyHash));
      return this.promoteRows(heads, claim, startedMs);
    });
  }

  sweep(limit: number): Promise<number> {
    return this.database.statement('sweep', () => {
      const blocked = this.visible().filter(({ status }) => status === 'blocked');
      const keys = [...new Set(blocked.map(({ message }) => message.keyHash!))];
      const heads = keys.flatMap((keyHash) => this.promotable(keyHash)).slice(0, limit);
      for (const row of heads) this.move(row, 'pending');
      return heads.length;
    });
  }

  quarantine(claimsMax: number, limit: number): Promise<readonly MessageRecord[]> {
    return this.database.statement('quarantine', () => {
      const now = this.database.nowMs;
      const lost = this.visible().filter(
        (row) =>
          row.status === 'pending' &&
          row.nextAttemptMs <= now &&
          (row.claims >= claimsMax || (row.expiresMs !== null && row.expiresMs <= now)),
      );
      const dead = lost.filter(({ claims }) => claims >= claimsMax).slice(0, limit);
      const heads = lost.filter(({ claims }) => claims < claimsMax);
      const keys = heads.flatMap(({ message: { keyHash } }) => (keyHash === null ? [] : [keyHash]));
      const behind = this.visible().filter(
        ({ status, expiresMs, message: { keyHash } }) =>
          status === 'blocked' && expiresMs !== null && expiresMs <= now && keys.includes(keyHash!),
      );
      const expired = [...heads, ...behind].slice(0, limit - dead.length);
      for (const row of dead) {
        row.error = `taken ${row.claims} times without any outcome`;
        this.finish(row, 'dead_letter');
      }
      for (const row of expired) {
        row.error = 'expired';
        this.finish(row, 'cancelled');
      }
      return [...dead, ...expired].map((row) => recordFrom(row));
    });
  }

  nextDueInMs(transports: readonly string[]): Promise<number | null> {
    return this.database.statement('nextDueInMs', () => {
      const waiting = this.visible().filter(
        ({ status, message }) => status === 'pending' && transports.includes(message.transport),
      );
      if (waiting.length === 0) return null;
      return Math.max(
        0,
        Math.min(...waiting.map(({ nextAttemptMs }) => nextAttemptMs)) - this.database.nowMs,
      );
    });
  }

  stats(): Promise<StoreStats> {
    return this.database.statement('stats', () => {
      const now = this.database.nowMs;
      const of = (...statuses: MessageStatus[]): FakeRow[] =>
        this.visible().filter(({ status }) => statuses.includes(status));
      const parking = this.onDeadLetter === 'park' ? of('dead_letter') : [];
      const parked = new Set(parking.flatMap((row) => waitingBehind(row, this.visible())));
      const waiting = of('pending', 'blocked').filter(({ availableMs }) => availableMs <= now);
      return {
        pending: of('pending', 'blocked').length,
        blocked: of('blocked').length,
        due: of('pending').filter(({ nextAttemptMs }) => nextAttemptMs <= now).length,
        deadLetters: of('dead_letter').length,
        parkedKeys: new Set([...parked].map(({ message }) => message.keyHash)).size,
        parked: parked.size,
        oldestUnsentMs:
          waiting.length === 0 ? 0 : Math.max(1, ...waiting.map((row) => now - row.availableMs)),
        sent: of('sent', 'consumed').length,
      };
    });
  }

  inspect(id: string): Promise<MessageSituation | null> {
    return this.database.statement('inspect', () => {
      const [row] = this.find(id);
      if (row === undefined) return null;
      const now = this.database.nowMs;
      const holding = holdingStatuses(this.onDeadLetter);
      const ahead = this.visible().filter(
        ({ status, seq, message }) =>
          row.status === 'blocked' &&
          message.keyHash === row.message.keyHash &&
          seq < row.seq &&
          holding.includes(status),
      );
      const dead = ahead.find(({ status }) => status === 'dead_letter');
      return {
        message: recordFrom(row),
        dueInMs: row.nextAttemptMs - now,
        availableInMs: row.availableMs - now,
        expiresInMs: row.expiresMs === null ? null : row.expiresMs - now,
        finishedAt: row.finishedMs === null ? null : new Date(row.finishedMs),
        isClaimed: row.token !== null,
        waiting: holding.includes(row.status) ? waitingBehind(row, this.visible()).length : 0,
        ahead: {
          count: ahead.length,
          first: ahead[0] === undefined ? null : recordFrom(ahead[0]),
          deadLetter: dead === undefined ? null : recordFrom(dead),
        },
      };
    });
  }

  purge({ status, olderThanMs, limit }: PurgeTerms): Promise<number> {
    return this.database.statement('purge', () => {
      const old = this.visible().filter(
        (row) => row.status === status && row.finishedMs! <= this.database.nowMs - olderThanMs,
      );
      return this.database.remove(old.slice(0, limit));
    });
  }

  notify(): Promise<void> {
    return this.database.statement('notify', () => this.database.notifyAll());
  }

  listen(onNotify: () => void): Promise<() => Promise<void>> {
    return this.database.statement('listen', () => {
      const stop = this.database.onNotify(onNotify);
      return () => Promise.resolve(stop());
    });
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }

  private send(ids: readonly string[]): number {
    const rows = ids
      .flatMap((id) => this.find(id))
      .filter(({ status }) => status === 'pending' || status === 'blocked');
    for (const row of rows) {
      row.completions += 1;
      this.finish(row, 'sent');
    }
    return rows.length;
  }

  private promoteRows(
    heads: readonly FakeRow[],
    claim: ClaimTerms | null,
    startedMs: number,
  ): { promoted: number; claimed: readonly ClaimedMessage[] } {
    for (const row of heads) this.move(row, 'pending');
    if (claim === null) return { promoted: heads.length, claimed: [] };
    const taken = heads.filter(({ nextAttemptMs }) => nextAttemptMs <= this.database.nowMs);
    return { promoted: heads.length, claimed: taken.map((row) => this.take(row, claim, startedMs)) };
  }

  private ahead(
    head: FakeRow,
    { token, leaseMs }: ClaimTerms,
    { count, bytes }: ReadAhead,
    startedMs: number,
  ): ClaimedMessage[] {
    const holding = holdingStatuses(this.onDeadLetter);
    const behind = this.visible()
      .filter(({ message: { keyHash }, seq }) => keyHash === head.message.keyHash && seq > head.seq)
      .filter(({ status }) => holding.includes(status))
      .sort((a, b) => Number(a.seq - b.seq));
    let size = 0;
    const end = behind.findIndex(({ status, availableMs, expiresMs, message }) => {
      size += message.payload.length;
      return status !== 'blocked' || availableMs > this.database.nowMs || expiresMs !== null || size > bytes;
    });
    return behind
      .slice(0, Math.min(count, end === -1 ? behind.length : end))
      .map((row) => ({ ...claimedFrom(row, startedMs + leaseMs), token }));
  }

  private insert(message: StagedMessage, birth: Birth, stale: boolean): FakeRow {
    const { keyHash, delayMs, expiresInMs } = message;
    const holding = holdingStatuses(this.onDeadLetter);
    // Also those of this transaction: an earlier message of the same batch holds the key as well.
    const held = this.database.rows.some(
      (row) => row.message.keyHash === keyHash && holding.includes(row.status),
    );
    const blocked = keyHash !== null && (stale || held);
    const leased = !blocked && delayMs === 0 && birth.leaseMs > 0;
    const now = this.database.nowMs;
    return this.database.add({
      message,
      seq: this.database.nextSeq(),
      status: blocked ? 'blocked' : 'pending',
      attempts: 0,
      claims: leased ? 1 : 0,
      nextAttemptMs: leased ? now + birth.leaseMs : now + delayMs,
      availableMs: now + delayMs,
      createdMs: now,
      expiresMs: expiresInMs === null ? null : now + delayMs + expiresInMs,
      token: leased ? birth.token : null,
      owner: leased ? birth.owner : null,
      error: null,
      finishedMs: null,
      committed: false,
      completions: 0,
    });
  }

  private due(transports: readonly string[], claimsMax: number): FakeRow[] {
    const now = this.database.nowMs;
    return this.visible()
      .filter(
        (row) =>
          row.status === 'pending' &&
          transports.includes(row.message.transport) &&
          row.nextAttemptMs <= now &&
          row.claims < claimsMax &&
          (row.expiresMs === null || row.expiresMs > now),
      )
      .sort((a, b) => a.nextAttemptMs - b.nextAttemptMs || Number(a.seq - b.seq));
  }

  private take(row: FakeRow, terms: ClaimTerms, startedMs: number): ClaimedMessage {
    row.token = terms.token;
    row.owner = terms.owner;
    row.claims += 1;
    row.nextAttemptMs = this.database.nowMs + terms.leaseMs;
    return claimedFrom(row, startedMs + terms.leaseMs);
  }

  private promotable(keyHash: bigint): FakeRow[] {
    const ofKey = this.visible().filter(({ message }) => message.keyHash === keyHash);
    const first = ofKey.filter(({ status }) => status === 'blocked').sort((a, b) => Number(a.seq - b.seq))[0];
    if (first === undefined) return [];
    const holding = holdingStatuses(this.onDeadLetter);
    return ofKey.some(({ seq, status }) => seq < first.seq && holding.includes(status)) ? [] : [first];
  }

  private visible(): FakeRow[] {
    return this.database.rows.filter(({ committed }) => committed);
  }

  private find(id: string): FakeRow[] {
    return this.visible().filter(({ message }) => message.id === id);
  }

  private held(id: string, token: string): FakeRow[] {
    return this.find(id).filter((row) => row.status === 'pending' && row.token === token);
  }

  private free(row: FakeRow, afterMs: number): void {
    row.token = null;
    row.owner = null;
    row.nextAttemptMs = this.database.nowMs + afterMs;
  }

  private finish(row: FakeRow, status: MessageStatus): void {
    this.move(row, status);
    this.free(row, 0);
    row.finishedMs = this.database.nowMs;
  }

  private move(row: FakeRow, status: MessageStatus): void {
    if (!mayMove(row.status, status)) throw new Error(`No row moves from ${row.status} to ${status}`);
    row.status = status;
  }
}
