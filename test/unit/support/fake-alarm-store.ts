import { randomUUID } from 'node:crypto';
import type { AlarmStore, HeardAlarm } from '../../../lib/core/alarm.port';
import type { MessageRecord } from '../../../lib/core/message';
import { recordFrom } from './fake-rows';
import { stagedMessage } from './staged-message';

/** Alarms of dead letters that died a minute ago, due as a test says. */
export class FakeAlarmStore implements AlarmStore {
  /** Due now. Whoever takes them has them for longer than a test lasts, unless that adds them again. */
  due: MessageRecord[] = [];
  readonly marked: HeardAlarm[] = [];
  /** The sizes of the statements that marked them. */
  readonly batches: number[] = [];
  takes = 0;
  /** Called before each statement: to hold it up, or to fail it. */
  before: () => Promise<void> | void = () => undefined;

  async takeDue(limit: number): Promise<readonly MessageRecord[]> {
    await this.before();
    this.takes += 1;
    return this.due.splice(0, limit);
  }

  async heard(alarms: readonly HeardAlarm[]): Promise<void> {
    await this.before();
    this.batches.push(alarms.length);
    this.marked.push(...alarms);
  }

  get markedIds(): string[] {
    return this.marked.map(({ id }) => id);
  }
}

export function deadRecord(more: Partial<MessageRecord> = {}): MessageRecord {
  const row = {
    message: stagedMessage({ id: randomUUID() }),
    seq: 1n,
    status: 'dead_letter' as const,
    attempts: 10,
    claims: 0,
    nextAttemptMs: 0,
    availableMs: 0,
    createdMs: 0,
    expiresMs: null,
    token: null,
    owner: null,
    error: 'no',
    finishedMs: Date.UTC(2030, 0, 1) - 60_000,
    committed: true,
    completions: 0,
  };
  return { ...recordFrom(row), ...more };
}
