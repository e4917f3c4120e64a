import { type ClaimedMessage, type MessageRecord, type StagedMessage } from './message';
import { type MessageStatus } from './message-status';
import { type StatementRunner } from './statement-runner';

/** How rows are born: leased to the process that writes them, or due at once for a relay elsewhere. */
export interface Birth {
  /** A fresh token for this batch; the rows are fenced by it. */
  readonly token: string;
  /** The process that writes them, for people to read. */
  readonly owner: string;
  /** The lease, counted by the database's clock from the INSERT on. 0: born due, and nobody holds them. */
  readonly leaseMs: number;
  /**
   * The isolation level that this one transaction was started with, upper case as in SQL (`READ COMMITTED`), or null
   * when it runs under the session's own.
   */
  readonly isolation: string | null;
}

/** What became of one message of a batch that was written. */
export interface WrittenMessage {
  readonly id: string;
  /**
   * `pending`: the head of its key, or without a key. `blocked`: an earlier message of its key is unsent, or the
   * transaction's isolation does not let it know; once committed, `promote` decides.
   */
  readonly status: 'pending' | 'blocked';
}

/** Who claims, and for how long. */
export interface ClaimTerms {
  readonly token: string;
  readonly owner: string;
  readonly leaseMs: number;
  /** Rows taken this often without an outcome are left out; `quarantine` sees to them. */
  readonly claimsMax: number;
}

/** One message that was not sent, and what is to become of it. */
export interface Failure {
  readonly id: string;
  readonly token: string;
  /** Why, in one line, without the payload. Stores cut it to what fits. */
  readonly error: string;
  /** Milliseconds until the next attempt, or null: a dead letter now. */
  readonly retryInMs: number | null;
}

/** One claim that is given back without an attempt. */
export interface Release {
  readonly id: string;
  readonly token: string;
  /** Milliseconds until the row may be claimed again; 0 for at once. */
  readonly afterMs: number;
}

/** Figures of the outbox of one moment. Counts of `sent` rows are not taken: they would cost a scan. */
export interface StoreStats {
  /** Unsent: `pending` (due, leased, delayed and backing off alike) and `blocked`. */
  readonly pending: number;
  readonly blocked: number;
  /** `pending` rows whose time has come and that nobody holds. */
  readonly due: number;
  readonly deadLetters: number;
  /** Age of the oldest row that is neither sent nor given up nor still delayed on purpose; 0 when there is none. */
  readonly oldestUnsentMs: number;
  /** Keys that a dead letter holds, with messages waiting behind it; 0 where dead letters are skipped. */
  readonly parkedKeys: number;
  /** Those of `blocked` that wait behind a dead letter: until a person redrives or discards it. */
  readonly parked: number;
  /** Sent messages that are still kept (estimated, where an exact count would cost a scan). */
  readonly sent: number;
}

/** One row and what goes before it in its key, as one moment shows them. All durations by the database's clock. */
export interface MessageSituation {
  readonly message: MessageRecord;
  /** Milliseconds until `nextAttemptAt`; negative once it has passed. */
  readonly dueInMs: number;
  /** Milliseconds until the delay that it was published with is over; negative likewise. */
  readonly availableInMs: number;
  /** Milliseconds until it expires; null: never. */
  readonly expiresInMs: number | null;
  /** When it became `sent`, `consumed`, `dead_letter` or `cancelled`. */
  readonly finishedAt: Date | null;
  /** Whether somebody took it for sending and has told of no outcome. The lease may be over. */
  readonly isClaimed: boolean;
  /** Later messages of its key that it holds back. */
  readonly waiting: number;
  /** What holds it, when it is `blocked`: how many there are, the first of them, and the first dead letter among them. */
  readonly ahead: {
    readonly count: number;
    readonly first: MessageRecord | null;
    readonly deadLetter: MessageRecord | null;
  };
}

/** A message that is to be written down as sent. */
export interface Completion {
  readonly id: string;
  /** Its key's digest, where the key's next message is to be promoted along; else null. */
  readonly keyHash: bigint | null;
}

/** How many of the messages that wait behind a promoted one are to be read along, for each key. */
export interface ReadAhead {
  /** At most so many; 0: none. */
  readonly count: number;
  /** At most so many bytes of payloads. */
  readonly bytes: number;
  /** Messages that were read along earlier, the last one of its key each: as much is read behind them. @default none */
  readonly behind?: readonly string[];
}

/** What came of `completeAndPromote`. */
export interface Chained {
  readonly promoted: number;
  readonly claimed: readonly ClaimedMessage[];
  /**
   * What follows the claimed ones in their keys, in order and without a gap: they may be sent, one after the other, while
   * the claim on the first one holds, and are completed as they are. Their rows are `blocked` and not changed; they bear
   * the token of that claim, and no fenced write finds them by it.
   */
  readonly ahead: readonly ClaimedMessage[];
  /** What follows those that were read along earlier, likewise, under the claim on the first one of their keys. */
  readonly further: readonly ClaimedMessage[];
  /**
   * The keys for which nothing was promoted, and which `promote` is to look at: one statement sees neither what was
   * committed while it ran, nor is seen by who looked meanwhile.
   */
  readonly left: readonly bigint[];
}

/** Which finished rows are to be deleted. */
export interface PurgeTerms {
  readonly status: Extract<MessageStatus, 'sent' | 'consumed' | 'cancelled' | 'dead_letter'>;
  /** Older than so many milliseconds, by the database's clock. */
  readonly olderThanMs: number;
  /** At most so many rows in one call: a small transaction. */
  readonly limit: number;
}

/**
 * Where messages live between commit and confirmation.
 *
 * Concurrency contract. Any number of processes call every method at once. `write` alone runs in the caller's
 * transaction; all others run, each, in a short transaction of the store's own, on connections that the application's
 * pool does not share, and hold no lock when they resolve. All but `write` may be called twice with the same arguments:
 * the second call finds nothing to do. Times are counted by the database's clock.
 */
export interface OutboxStore {
  /** Finds out what the server is and whether the schema fits. Rejects with an error that names the remedy. */
  verify(): Promise<void>;

  /**
   * Inserts all messages with one statement, in the caller's transaction, as its last writes. Takes the locks of the
   * keys first, in sorted order, and keeps them until that transaction ends: so `seq` is commit order within a key.
   * A rejection must fail the transaction.
   * @returns one entry a message, in their order.
   */
  write(
    statements: StatementRunner,
    messages: readonly StagedMessage[],
    birth: Birth,
  ): Promise<readonly WrittenMessage[]>;

  /**
   * Takes due rows of these transports, oldest first, skipping those that another claim is just taking. Counts a claim
   * on each. Whoever crashes with them loses them when the lease ends.
   */
  claim(transports: readonly string[], limit: number, terms: ClaimTerms): Promise<readonly ClaimedMessage[]>;

  /**
   * Makes these `sent`, be they `pending`, or `blocked` because one before them is not written down yet. No token is asked
   * for: "sent" is a fact, however late its confirmation came.
   * @returns how many rows moved.
   */
  complete(ids: readonly string[]): Promise<number>;

  /**
   * As `complete`, and then as `promote` for the keys that are given along, in one statement where the server can: for keys
   * that have more waiting. Of these more, some are read along; not those with a delay or an expiry, nor what is behind them.
   */
  completeAndPromote(
    completions: readonly Completion[],
    claim: ClaimTerms,
    ahead: ReadAhead,
  ): Promise<Chained>;

  /**
   * Records refusals: one attempt more, then back-off or dead letter. Fenced by token.
   * @returns the ids that moved; the others were taken by somebody else meanwhile.
   */
  fail(failures: readonly Failure[]): Promise<readonly string[]>;

  /** Gives claims back. Spends no attempt, and takes back the count of the claim. Fenced by token. */
  release(releases: readonly Release[]): Promise<void>;

  /** Prolongs leases from now on. Fenced by token. @returns the ids still held. */
  extend(ids: readonly string[], token: string, leaseMs: number): Promise<readonly string[]>;

  /**
   * Makes the heads of these keys `pending` where nothing holds them any more. With `claim`, takes them at once for the
   * caller and returns them; without, they are born due.
   * @returns the promoted rows, empty without `claim`; and how many were promoted.
   */
  promote(
    keyHashes: readonly bigint[],
    claim: ClaimTerms | null,
  ): Promise<{ promoted: number; claimed: readonly ClaimedMessage[] }>;

  /** As `promote`, for keys that nobody named: blocked rows whose predecessor is gone. @returns how many were promoted. */
  sweep(limit: number): Promise<number>;

  /**
   * Makes dead letters of pending rows that were taken `claimsMax` times without any outcome and whose lease is over:
   * they kill who sends them. And cancels pending rows past `expires_at` that nobody holds, with what has expired behind
   * them in their keys: nobody needs them any more, so they hold no key. @returns them, in their new status.
   */
  quarantine(claimsMax: number, limit: number): Promise<readonly MessageRecord[]>;

  /** Milliseconds until the next row of these transports is due: 0 when one is, null when none waits. */
  nextDueInMs(transports: readonly string[]): Promise<number | null>;

  /** One statement, which looks at each row that is unsent or dead, and at no more than some thousands of the others. */
  stats(): Promise<StoreStats>;

  /**
   * What there is to tell of one row: null where none is committed under that id. One statement, so one moment; it takes
   * no lock, waits for none, and changes nothing. By the time it resolves, the row may have moved on.
   */
  inspect(id: string): Promise<MessageSituation | null>;

  /** @returns how many rows were deleted; less than the limit means that there are no more. */
  purge(terms: PurgeTerms): Promise<number>;

  /** Whether the server can wake another process (`LISTEN`/`NOTIFY`). */
  readonly canNotify: boolean;
  /** Wakes relays in other processes. Never inside a transaction. Only where `canNotify`. */
  notify(): Promise<void>;
  /** Calls back when another process notified. Re-connects by itself. Only where `canNotify`. @returns stops listening. */
  listen(onNotify: () => void): Promise<() => Promise<void>>;

  /** Closes the store's own connections. */
  close(): Promise<void>;
}
