/** What the application committed, one for each message: the truth that everything else is compared with. */
export interface BusinessRow {
  readonly id: string;
  readonly exchange: string;
  readonly key: string | null;
  /** The place of its commit among those of its key, where the application has counted them. */
  readonly place: number | null;
  readonly hopeless: boolean;
}

export interface OutboxRow {
  readonly id: string;
  readonly status: string;
  readonly lastError: string | null;
}

/** One copy of a message, in the order in which the broker had it. */
export interface Copy {
  readonly id: string;
  readonly exchange: string;
  readonly key: string | null;
}

/** A transaction's commit, on the monotonic clock that all processes share. Nanoseconds; no end where nobody saw it. */
export interface CommitInterval {
  readonly beganAt: bigint;
  readonly endedAt: bigint | null;
}

/** All that is known from outside of the processes, at one quiet moment. */
export interface Facts {
  readonly business: readonly BusinessRow[];
  readonly outbox: readonly OutboxRow[];
  /** By queue, by message: how often it took effect. */
  readonly effects: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly copies: readonly Copy[];
  /** By dead-letter queue of a consumer: the messages that came there. */
  readonly deadCopies: ReadonlyMap<string, ReadonlySet<string>>;
  /** By message. */
  readonly commits: ReadonlyMap<string, CommitInterval>;
  /** Messages that were found as dead letters of the outbox, at any time. */
  readonly deadLetters: ReadonlySet<string>;
  readonly alarms: { readonly outbox: ReadonlySet<string>; readonly inbox: ReadonlySet<string> };
  /** What was still held when it should have been given back, in words. */
  readonly leaks: readonly string[];
}

/** What the campaign counts. All must be zero. */
export const VIOLATION_KINDS = [
  'committed without message',
  'message without commit',
  'effects per message other than 1',
  'order violations among first copies',
  'dead letters without alarm',
  'rows unsent after quiet time',
  'leaked connections',
] as const;
export type ViolationKind = (typeof VIOLATION_KINDS)[number];

export interface Violation {
  readonly kind: ViolationKind;
  readonly what: string;
  /** Whose history tells how it came about. */
  readonly ids: readonly string[];
}
