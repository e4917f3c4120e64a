import { type StagedMessage } from './message';
import { type StatementRunner } from './statement-runner';

/**
 * How a transactional method meets a transaction that is already there.
 * - `required`: join it, or open one. A failure inside marks the whole transaction rollback-only.
 * - `nested`: a savepoint in it, or open one.
 * - `requiresNew`: always open one of its own, on another connection.
 * - `mandatory`: join it; without one, an error.
 */
export type Propagation = 'required' | 'nested' | 'requiresNew' | 'mandatory';

/** Isolation levels that TypeORM knows. */
export type IsolationLevel = 'READ UNCOMMITTED' | 'READ COMMITTED' | 'REPEATABLE READ' | 'SERIALIZABLE';

export interface TransactionOptions {
  /** @default 'required' */
  readonly propagation?: Propagation;
  /** Only where a transaction is opened: refused inside one. Default: the data source's. */
  readonly isolation?: IsolationLevel;
  /** The transaction to join, or to set the savepoint in, where it is not the ambient one. It is ambient in the work. */
  readonly manager?: TransactionHandle;
  /** For messages and logs: who asked, e.g. `OrderService.place`. */
  readonly name?: string;
}

/** A handle that names a transaction explicitly: TypeORM's EntityManager of that transaction, or its QueryRunner. */
export type TransactionHandle = object;

/**
 * The transactions of one data source, and the ambient one among them.
 *
 * Concurrency contract: `run` opens one connection at most; `stage` is synchronous and touches memory alone.
 */
export interface Transactions {
  /** Runs work in a transaction that injected repositories join. Resolves when it is committed. */
  run<T>(options: TransactionOptions, work: () => Promise<T>): Promise<T>;
  /** Whether an ambient transaction is open here. */
  isActive(): boolean;
  /** The connection of the ambient transaction. Throws `TransactionRequiredError` without one. */
  current(): StatementRunner;
  /**
   * Keeps messages for the transaction's commit: of the ambient one, or of the one that the handle names.
   * Throws `TransactionRequiredError` without one.
   */
  stage(messages: readonly StagedMessage[], handle?: TransactionHandle): void;
  /** The name of the transaction of this process that is open with this message staged in it; null: there is none. */
  stagedIn(messageId: string): string | null;
  /** Runs work outside of any ambient transaction. Whatever outlives its caller is started so. */
  outside<T>(work: () => T): T;
}

/** The messages of one transaction, written and not yet committed. Opaque to the transaction room. */
export type WrittenBatch = object;

/**
 * What happens around the outermost commit: implemented by the composition root with a store and a relay.
 *
 * Concurrency contract: `write` is awaited before COMMIT is sent, on the transaction's own connection; its rejection
 * rolls the transaction back. `committed` and `lost` are synchronous, never throw, and touch no database.
 */
export interface CommitListener {
  write(
    statements: StatementRunner,
    messages: readonly StagedMessage[],
    isolation: string | null,
  ): Promise<WrittenBatch>;
  /** The transaction is committed: these may be sent. */
  committed(batch: WrittenBatch): void;
  /** A connection was released with messages still staged on it: a programming error that people must hear of. */
  lost(messages: readonly StagedMessage[], reason: string): void;
  /** A write of a transactional method went to another connection. In mode `error`, it is refused as well. */
  escaped(query: string, transactionName: string): void;
}
