import { type MessageRecord } from './message';

/** Which dead letters: all conditions together. An empty filter is all of them. */
export interface DeadLetterFilter {
  readonly ids?: readonly string[];
  readonly type?: string;
  readonly transport?: string;
  readonly destination?: string;
  readonly key?: string;
  readonly tenant?: string;
  /** Dead since then, or later. */
  readonly deadFrom?: Date;
  /** Dead before then. */
  readonly deadUntil?: Date;
  /** true: those alone behind which messages of their key wait. false: the others. */
  readonly parking?: boolean;
  /** A part of the last error, upper and lower case alike (beyond ASCII, as the database's locale has it). */
  readonly errorContains?: string;
}

/** A message as the dead-letter service shows it. */
export interface DeadLetter extends MessageRecord {
  /**
   * Later messages of its key that wait behind it, and go on when it is redriven or discarded. 0 without a key, and for a
   * dead letter where those are skipped.
   */
  readonly waiting: number;
}

/** One page of a listing, oldest first. */
export interface DeadLetterPage {
  readonly items: readonly DeadLetter[];
  /** Give it as `after` to get the next page; null on the last. */
  readonly next: string | null;
}

/**
 * The given-up messages, for people.
 *
 * Concurrency contract: every write is one statement, conditional on the status `dead_letter`, so two operators may
 * press the same button; each row moves once.
 */
export interface DeadLetterStore {
  /** One statement. Costs an index entry for each message that waits behind one of the page. */
  list(
    filter: DeadLetterFilter,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<DeadLetterPage>;
  count(filter: DeadLetterFilter): Promise<number>;
  /** Any outbox row, dead or not, with its payload; null where there is none. */
  get(id: string): Promise<DeadLetter | null>;
  /**
   * `dead_letter → pending`, due at once, with attempts and claims at 0 and without a time of expiry; `→ blocked` where
   * an earlier message of its key still holds it, so that a key redriven as a whole leaves in order.
   * @returns the ids that moved.
   */
  redrive(filter: DeadLetterFilter, limit: number): Promise<readonly string[]>;
  /** `dead_letter → cancelled`. Keys that they parked are free again. @returns the ids that moved, and their keys' hashes. */
  discard(
    filter: DeadLetterFilter,
    limit: number,
  ): Promise<{ ids: readonly string[]; keyHashes: readonly bigint[] }>;
}
