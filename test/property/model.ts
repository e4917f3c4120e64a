import type { MessageStatus } from '../../lib/core/message-status';
import type { WrittenMessage } from '../../lib/core/outbox-store.port';
import type { IsolationLevel } from '../../lib/core/transactions.port';
import type { TestDatabaseType } from '../support/shared-servers';
import type { Draft, OpenTransaction, ReadRun, Row, Taking } from './row';

/** Steps of a run that fit between two ticks. */
const STEPS = 1_000_000;

/**
 * What the outbox is said to be, in memory: the specification that both databases are held against. Methods named as
 * the store's do what the store should do; where a server may choose (which of many due rows), it is told what was chosen.
 */
export class Model {
  /** Every step is one moment later than the one before; a tick is many steps. */
  now = 0;
  readonly committed = new Map<string, Row>();
  readonly open: OpenTransaction[] = [];
  /** Newest last. */
  readonly takings: Taking[] = [];
  /** Newest last. */
  readonly runs: ReadRun[] = [];
  private names = 0;
  private seq = 0;

  constructor(
    readonly database: TestDatabaseType,
    readonly onDeadLetter: 'park' | 'skip',
  ) {}

  /** Names are counted, so that a sequence of steps means the same messages whenever it runs. */
  newName(kind: string): string {
    this.names += 1;
    return `${kind}-${this.names}`;
  }

  later(ticks: number): number {
    return this.now + ticks * STEPS;
  }

  /** 0 or less: it has passed. */
  ticksUntil(time: number): number {
    return Math.floor(time / STEPS) - Math.floor(this.now / STEPS);
  }

  isPast(time: number | null): boolean {
    return time !== null && this.ticksUntil(time) <= 0;
  }

  rows(condition: (row: Row) => boolean = () => true): Row[] {
    return [...this.committed.values()].filter(condition).sort((a, b) => a.seq - b.seq);
  }

  row(id: string): Row {
    const row = this.committed.get(id);
    if (row === undefined) throw new Error(`The model has no message ${id}`);
    return row;
  }

  // Transactions

  begin(isolation: IsolationLevel | null, birthLeaseTicks: number): OpenTransaction {
    const name = this.newName('tx');
    const transaction = { name, isolation, birthLeaseTicks, staged: [], phase: 'open' as const, rows: [] };
    this.open.push(transaction);
    return transaction;
  }

  stage(transaction: OpenTransaction, { transport, key, ...times }: Omit<Draft, 'id'>): void {
    const ordered = key === null ? null : `${transport} ${key}`;
    this.names += 1;
    const id = `00000000-0000-7000-8000-${String(this.names).padStart(12, '0')}`;
    transaction.staged.push({ id, transport, key: ordered, ...times });
  }

  /** Whether the INSERT of these has to wait for a key that another transaction holds, or waits for itself. */
  mustWait(staged: readonly Pick<Draft, 'key'>[], by?: OpenTransaction): boolean {
    const others = this.open.filter((other) => other !== by && other.phase !== 'open');
    const held = new Set(others.flatMap((other) => other.staged.map(({ key }) => key)));
    return staged.some(({ key }) => key !== null && held.has(key));
  }

  get waiting(): OpenTransaction | undefined {
    return this.open.find(({ phase }) => phase === 'writing');
  }

  write(transaction: OpenTransaction): WrittenMessage[] {
    const behind = new Set<string>();
    transaction.rows = transaction.staged.map(({ id, transport, key, delayTicks, expiresInTicks }) => {
      const unsure = !this.seesCommitted(transaction.isolation);
      const blocked = key !== null && (unsure || behind.has(key) || this.isHeld(key));
      if (key !== null) behind.add(key);
      const leased = !blocked && delayTicks === 0 && transaction.birthLeaseTicks > 0;
      return {
        ...{ id, transport, key, seq: (this.seq += 1), attempts: 0, finishedAt: 0 },
        status: blocked ? 'blocked' : 'pending',
        claims: leased ? 1 : 0,
        token: leased ? transaction.name : null,
        availableAt: this.later(delayTicks),
        nextAt: this.later(leased ? transaction.birthLeaseTicks : delayTicks),
        expiresAt: expiresInTicks === null ? null : this.later(delayTicks + expiresInTicks),
      };
    });
    transaction.phase = 'written';
    return transaction.rows.map(({ id, status }) => ({ id, status: status as 'pending' | 'blocked' }));
  }

  /** Returns what its process was born with. */
  commit(transaction: OpenTransaction): Taking[] {
    for (const row of transaction.rows) this.committed.set(row.id, row);
    const taken = transaction.rows.flatMap(({ id, token }) => (token === null ? [] : [{ id, token }]));
    this.takings.push(...taken);
    this.rollback(transaction);
    return taken;
  }

  rollback(transaction: OpenTransaction): void {
    this.open.splice(this.open.indexOf(transaction), 1);
  }

  // Keys

  /** The first blocked message of a key, where nothing before it holds the key any more. */
  promotable(key: string): Row | undefined {
    const [head] = this.rows((row) => row.key === key && row.status === 'blocked');
    return head !== undefined && !this.isHeld(key, head.seq) ? head : undefined;
  }

  isHeld(key: string, before = Infinity): boolean {
    return this.rows((row) => row.key === key && row.seq < before).some((row) => this.holds(row));
  }

  /** Whether it keeps later messages of its key back. */
  holds({ status }: Row): boolean {
    if (status === 'dead_letter') return this.onDeadLetter === 'park';
    return status === 'pending' || status === 'blocked';
  }

  /** The first dead letter that it waits behind. */
  parkedBy({ key, seq }: Row): Row | undefined {
    return this.rows((row) => row.key === key && row.seq < seq && row.status === 'dead_letter').find((row) =>
      this.holds(row),
    );
  }

  promote(keys: readonly string[], claim: { token: string; leaseTicks: number } | null): Row[] {
    const heads = keys.map((key) => this.promotable(key)).filter((row) => row !== undefined);
    for (const row of heads) {
      const take = this.isPast(row.availableAt) && !this.isPast(row.expiresAt);
      Object.assign(row, {
        status: 'pending',
        claims: 0,
        token: null,
        nextAt: Math.max(row.availableAt, this.now),
      });
      if (claim !== null && take) this.take(row, claim.token, claim.leaseTicks);
    }
    return heads;
  }

  /** What may be sent right behind a message, one after the other. */
  ahead({ key, seq }: Row, count: number): Row[] {
    const behind = this.rows((row) => row.key === key && row.seq > seq && this.holds(row));
    const end = behind.findIndex(
      (row) => row.status !== 'blocked' || !this.isPast(row.availableAt) || row.expiresAt !== null,
    );
    return behind.slice(0, Math.min(count, end === -1 ? behind.length : end));
  }

  // The relay

  /** Rows that a claim may take, those first that it must take first. */
  due(transports: readonly string[], claimsMax: number): Row[] {
    return this.rows(
      ({ status, transport, nextAt, claims, expiresAt }) =>
        status === 'pending' &&
        transports.includes(transport) &&
        this.isPast(nextAt) &&
        claims < claimsMax &&
        !this.isPast(expiresAt),
    ).sort((a, b) => a.nextAt - b.nextAt);
  }

  take(row: Row, token: string, leaseTicks: number): void {
    Object.assign(row, { token, claims: row.claims + 1, nextAt: this.later(leaseTicks) });
    this.takings.push({ id: row.id, token });
  }

  /** "Sent" is a fact: no token is asked for, nor whether it was its turn. */
  complete(ids: readonly string[]): Row[] {
    const unsent = ['pending', 'blocked'];
    const moved = this.rows(({ id, status }) => ids.includes(id) && unsent.includes(status));
    for (const row of moved) this.finish(row, 'sent');
    return moved;
  }

  fail(takings: readonly Taking[], retryInTicks: number | null): Row[] {
    return this.held(takings, (row) => {
      row.attempts += 1;
      row.claims = 0;
      row.token = null;
      if (retryInTicks === null) this.finish(row, 'dead_letter');
      else row.nextAt = this.later(retryInTicks);
    });
  }

  release(takings: readonly Taking[], afterTicks: number): void {
    this.held(takings, (row) => {
      row.claims = Math.max(row.claims - 1, 0);
      row.token = null;
      row.nextAt = this.later(afterTicks);
    });
  }

  extend(takings: readonly Taking[], leaseTicks: number): Row[] {
    return this.held(takings, (row) => {
      row.nextAt = this.later(leaseTicks);
    });
  }

  /** Rows that no claim takes any more, and whose lease is over. */
  hopeless(claimsMax: number): Row[] {
    return this.rows(
      ({ status, nextAt, claims, expiresAt }) =>
        status === 'pending' && this.isPast(nextAt) && (claims >= claimsMax || this.isPast(expiresAt)),
    );
  }

  /** Blocked rows of the same keys that have expired as well. */
  expiredBehind(rows: readonly Row[]): Row[] {
    return this.rows(
      ({ status, key, expiresAt }) =>
        status === 'blocked' && this.isPast(expiresAt) && rows.some((row) => row.key === key),
    );
  }

  // Dead letters, and what is over

  redrive(rows: readonly Row[]): void {
    const dead = (row: Row): boolean => row.status === 'dead_letter';
    // In the order of their keys, so that the later ones find the earlier ones before them.
    for (const row of [...rows].filter(dead).sort((a, b) => a.seq - b.seq)) {
      const behind = row.key !== null && this.isHeld(row.key, row.seq);
      const status = behind ? 'blocked' : 'pending';
      const times = { nextAt: this.now, availableAt: this.now, expiresAt: null };
      Object.assign(row, { status, attempts: 0, claims: 0, ...times });
    }
    this.promote([...new Set(rows.flatMap(({ key }) => key ?? []))], null);
  }

  finish(row: Row, status: MessageStatus): void {
    Object.assign(row, { status, token: null, finishedAt: this.now });
  }

  /** Rows that a purge may delete, those first that it must delete first. */
  purgeable(status: MessageStatus, olderThanTicks: number): Row[] {
    return this.rows(
      (row) => row.status === status && this.isPast(row.finishedAt + olderThanTicks * STEPS),
    ).sort((a, b) => a.finishedAt - b.finishedAt);
  }

  private held(takings: readonly Taking[], move: (row: Row) => void): Row[] {
    const moved = takings.flatMap(({ id, token }) =>
      this.rows((row) => row.id === id && row.token === token && row.status === 'pending'),
    );
    moved.forEach(move);
    return moved;
  }

  private seesCommitted(isolation: IsolationLevel | null): boolean {
    return isolation === 'READ COMMITTED' || (isolation === null && this.database === 'postgres');
  }
}
