import { type StatementRunner } from './statement-runner';

/** One message at one consumer. Both compare by bytes. */
export interface InboxEntry {
  /** At most 255 bytes of UTF-8. */
  readonly consumer: string;
  /** At most 255 bytes of UTF-8. */
  readonly messageKey: string;
}

/**
 * The consumer's record of message keys already handled.
 *
 * Concurrency contract. `add` runs in the handler's transaction: it waits for a concurrent `add` of the same entry until
 * that one's transaction ends, then answers by its outcome. The row is visible to others when the transaction commits.
 */
export interface InboxStore {
  verify(): Promise<void>;
  /**
   * Inserts the entries with one statement, sorted.
   * @param waitMs how long to wait for a concurrent `add` of the same entry; without it, as long as the connection's own
   * statements wait for a lock. Those keep the limit that they had.
   * @returns those that are new; the others were handled before (or are doubled in the argument: the first one counts).
   * Deadlocks, lock time-outs and serialization failures reject with the driver's error; see `isTransient`.
   */
  add(
    statements: StatementRunner,
    entries: readonly InboxEntry[],
    waitMs?: number,
  ): Promise<readonly InboxEntry[]>;
  /** Whether an error of the database means: roll back and try the same again at once (1213, 1205, 40001, 40P01). */
  isTransient(error: unknown): boolean;
  /** Whether an error of the database means: the wait for a lock was over (1205, 55P03). */
  isLockTimeout(error: unknown): boolean;
  /** Deletes entries older than so many milliseconds, at most `limit` in one call. @returns how many. */
  purge(olderThanMs: number, limit: number): Promise<number>;
}
