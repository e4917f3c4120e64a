import { type OutboxEventMap } from './events';
import { type MessageRecord } from './message';

/** A dead letter whose alarm was heard. */
export interface HeardAlarm {
  readonly id: string;
  /** How long ago its ringing began, in milliseconds: had the message died once more since then, that alarm is still due. */
  readonly sinceMs: number;
}

/**
 * Which dead letters of the outbox have an alarm that nobody has heard yet. A row gets one in the very statement that
 * makes it a dead letter, due after a lease, so that who wrote it may ring at once and others ring where that one died.
 * Redrive and discard take it away.
 *
 * Concurrency contract. Any number of processes call both at once, in short transactions of the store's own; no lock is
 * held when they resolve. Times are counted by the database's clock.
 */
export interface AlarmStore {
  /**
   * Takes dead letters whose alarm is due, skipping those that another call is just taking, and makes each due again:
   * after a lease, and later and later the longer it has been dead. @returns them, oldest first.
   */
  takeDue(limit: number): Promise<readonly MessageRecord[]>;
  /** They are due no more. One statement for many. May be called twice. */
  heard(alarms: readonly HeardAlarm[]): Promise<void>;
}

/**
 * Rings the alarm, for whoever has a dead letter or looks after them.
 *
 * Concurrency contract: all may be called at any time and twice; none rejects because of the application's callback.
 */
export interface Alarm {
  /**
   * For a consumer's dead letter, of which no row knows: its message is acknowledged after this.
   * Resolves when the callback has ended, whatever its outcome, or after so many milliseconds.
   */
  ring(event: OutboxEventMap['inbox.deadLetter'], limitMs: number): Promise<void>;
  /** Rings for the outbox's dead letters whose alarm is due. Resolves when that is through. @param stopping asked in between. */
  ringDue(stopping: () => boolean): Promise<void>;
  /** Resolves when the callbacks on their way have ended, and that is written down. Nothing rings by itself any more. */
  stop(): Promise<void>;
}
