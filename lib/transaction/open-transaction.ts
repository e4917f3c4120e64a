import { type QueryRunner } from 'typeorm';
import { TransactionAbortedError, TransactionRollbackOnlyError } from '../core/errors';
import { type StatementRunner } from '../core/statement-runner';
import { type WrittenBatch } from '../core/transactions.port';
import { StagedMessages } from './staged-messages';

/**
 * A stretch of code that runs in a transaction: the whole of it, or one savepoint. What was begun in a scope may use the
 * transaction until the scope ends, and not a statement longer.
 */
export class TransactionScope {
  private over = false;
  private turn: Promise<void> | null = null;

  constructor(
    readonly transaction: OpenTransaction,
    readonly name: string,
    /** How many savepoints were open when it began. */
    readonly depth: number,
    private readonly parent?: TransactionScope,
  ) {}

  get hasEnded(): boolean {
    return this.over || this.transaction.hasEnded || (this.parent?.hasEnded ?? false);
  }

  end(): void {
    this.over = true;
  }

  /**
   * Waits until no other savepoint is open in this scope: one connection has one stack of savepoints, and TypeORM numbers
   * them by depth, so siblings that overlap would release each other's. @returns gives the turn to the next.
   */
  async takeTurn(): Promise<() => void> {
    const before = this.turn;
    let giveBack!: () => void;
    this.turn = new Promise((resolve) => {
      giveBack = resolve;
    });
    if (before !== null) await before;
    return giveBack;
  }
}

/**
 * One transaction on one connection, as far as messages are concerned: from the first look at it to its end.
 * All of it is synchronous memory; who talks to the server is `CommitGate`.
 */
export class OpenTransaction {
  readonly staged = new StagedMessages();
  readonly batches: WrittenBatch[] = [];
  readonly root: TransactionScope;
  /** The scope whose savepoint is the innermost one open. Writes of any other would end up in that savepoint. */
  innermost: TransactionScope;
  /** Begun by us. */
  readonly own: boolean;
  /** Ours, joined, or with messages: then it is watched. All others are the application's own business. */
  matters: boolean;
  /** The level that was set for this one transaction, or null for the session's. */
  isolation: string | null;
  /** Whether the server has begun it; MySQL is told the isolation level before that. */
  begun = true;
  /** How often a savepoint of it was rolled back. */
  rollbacksToSavepoint = 0;
  /** A statement failed (MySQL): the server may have rolled everything back, and must be asked. */
  suspect = false;
  /** A rollback was asked for, so nobody needs to hear of lost messages. */
  rollingBack = false;
  /** From the writing of the messages on. */
  committing = false;
  /** COMMIT is on its way. Nothing may join any more. */
  sealed = false;
  readonly escapedWrites = new Set<string>();
  /** What works in it sends statements by; made when first asked for. */
  statements: StatementRunner | null = null;
  /** Where `OpenTransactions` keeps it while it has messages; null: nowhere. */
  place: number | null = null;
  /** Called once, when it has ended. */
  ended: () => void = () => undefined;
  private state: 'open' | 'committed' | 'rolled back' = 'open';
  private deathCause: string | null = null;

  constructor(
    readonly runner: QueryRunner,
    readonly name: string,
    options: { readonly own: boolean; readonly isolation: string | null },
  ) {
    this.own = options.own;
    this.matters = options.own;
    this.isolation = options.isolation;
    this.root = new TransactionScope(this, name, 0);
    this.innermost = this.root;
  }

  get outcome(): 'open' | 'committed' | 'rolled back' {
    return this.state;
  }

  get isCommitted(): boolean {
    return this.state === 'committed';
  }

  /** Whether it has begun to end, or its connection is gone. */
  get hasEnded(): boolean {
    return this.sealed || this.state !== 'open' || this.runner.isReleased;
  }

  end(outcome: 'committed' | 'rolled back'): void {
    if (this.state !== 'open') return;
    this.state = outcome;
    this.ended();
  }

  /** The transaction is no longer what its caller believes; nothing may be done with it but to roll it back. */
  kill(cause: string): void {
    this.deathCause ??= cause;
  }

  get dead(): boolean {
    return this.deathCause !== null;
  }

  /** Refuses a transaction that the server has already undone or ended. */
  assertAlive(): void {
    if (this.deathCause !== null) throw new TransactionAbortedError(this.deathCause);
  }

  assertCommittable(): void {
    this.assertAlive();
    const failure = this.staged.failureFrom(0);
    if (failure !== null) throw new TransactionRollbackOnlyError(this.name, { cause: failure.error });
  }
}
