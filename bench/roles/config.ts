import type { DatabaseType } from '../harness/options';

/** What a role works with. */
export interface RoleConfig {
  readonly database: { readonly type: DatabaseType; readonly url: string };
  readonly brokerUrl: string;
}

/** How many of a backlog are through, and when the last one was. */
export interface Sent {
  readonly count: number;
  readonly lastMs: number;
}

export interface ClosedLoop {
  /** So many at once: each begins the next transaction when its last one is through. */
  readonly concurrency: number;
  readonly seconds: number;
  readonly bytes: number;
  /** null: none; `unique`: a key of its own for each; otherwise the key of all. */
  readonly key: string | null;
  /**
   * `insert`: one INSERT as a text, and `publish()`. `entity`: an entity saved by its repository, and the decorator.
   * @default insert
   */
  readonly business?: 'insert' | 'entity';
}

export interface ClosedLoopResult {
  readonly transactions: number;
  readonly perSecond: number;
}

export interface OpenLoop {
  /** Transactions a second, whatever becomes of them. */
  readonly rate: number;
  readonly seconds: number;
  readonly bytes: number;
}

/** What happened when, by number: milliseconds of the machine's monotonic clock. */
export type Moments = ReadonlyMap<number, number>;

/** For the key `unique`. */
export const UNIQUE = 'unique';

/** The key of the n-th message. */
export function keyOf(n: number, key: string | null): string | null {
  return key === UNIQUE ? `key-${n}` : key;
}
