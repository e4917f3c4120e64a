import type { MessageStatus } from '../../lib/core/message-status';
import type { IsolationLevel } from '../../lib/core/transactions.port';

/** What the tests count time in: so long that a run of real time is nothing beside it. */
export const TICK_MS = 3_600_000;
export interface Draft {
  readonly id: string;
  readonly transport: string;
  readonly key: string | null;
  readonly delayTicks: number;
  readonly expiresInTicks: number | null;
}

/** Times are on the model's clock. In a blocked row claim and times of attempts mean nothing. */
export interface Row {
  readonly id: string;
  readonly transport: string;
  readonly key: string | null;
  /** The order of insertion. */
  readonly seq: number;
  status: MessageStatus;
  attempts: number;
  claims: number;
  token: string | null;
  nextAt: number;
  availableAt: number;
  expiresAt: number | null;
  finishedAt: number;
}

export interface OpenTransaction {
  readonly name: string;
  /** null: the session's own. */
  readonly isolation: IsolationLevel | null;
  readonly birthLeaseTicks: number;
  readonly staged: Draft[];
  /** `writing`: its INSERT waits for the key of another transaction. */
  phase: 'open' | 'writing' | 'written';
  rows: Row[];
}

/** Somebody took this message once, and believes to hold it. */
export interface Taking {
  readonly id: string;
  readonly token: string;
}

/** What somebody read behind a message that it had claimed. */
export interface ReadRun {
  readonly head: Taking;
  /** Written down while it went on. */
  readonly sent: string[];
  /** Not sent yet. */
  readonly followers: string[];
}
