import { Logger } from '@nestjs/common';
import type { Alarm, AlarmStore } from '../core/alarm.port';
import type { Clock } from '../core/clock';
import { describeError } from '../core/errors';
import type { OutboxEventMap, OutboxEvents } from '../core/events';
import type { MessageRecord } from '../core/message';
import { HeardAlarms } from './heard-alarms';

type OutboxDeadLetter = OutboxEventMap['message.deadLetter'];
type InboxDeadLetter = OutboxEventMap['inbox.deadLetter'];

/** Callbacks at the same time, of alarms that are due. */
const DUE_SIZE = 100;

/** The application's callback. What it throws, or rejects with, is logged; it stops no message. */
export type AlarmCallback = (event: OutboxDeadLetter | InboxDeadLetter) => void | Promise<void>;

export interface DeadLetterAlarmParts {
  readonly events: OutboxEvents;
  readonly store: AlarmStore;
  /** Absent: the log alone. */
  readonly alarm: AlarmCallback | undefined;
  readonly clock: Clock;
  /** When a callback has not ended after so long, others ring. Milliseconds; the store counts the same. */
  readonly leaseMs: number;
  /** Runs work outside of any ambient transaction: a rollback must not take the alarm's own writes back. */
  readonly outside: <T>(work: () => T) => T;
}

/**
 * Raises the alarm for each message that becomes a dead letter, on the sending and on the consuming side: at least once.
 *
 * Sending side: whoever makes a dead letter rings at once. The row has its alarm due all the while, until the callback has
 * ended well: so where this process dies in between, or the callback fails, it rings again, here or in any other process
 * that sends. Without a callback, the line in the log is the alarm.
 *
 * Consuming side: there is no row. The original is acknowledged after the callback has ended, so where this process dies
 * before, it is delivered, fails and rings again.
 */
export class DeadLetterAlarm implements Alarm {
  private readonly logger = new Logger('DeadLetters');
  private readonly ringing = new Set<Promise<boolean>>();
  private readonly heard: HeardAlarms;
  private unsubscribe: (() => void) | null = null;

  constructor(private readonly parts: DeadLetterAlarmParts) {
    this.heard = new HeardAlarms(parts.store, parts.clock);
  }

  start(): void {
    this.unsubscribe ??= this.parts.events.on('message.deadLetter', (event) => {
      this.logger.error(
        `Message ${event.id} (${event.type}) is a dead letter after ${event.attempts} attempts: ${event.error}`,
      );
      void this.ringForRow(event);
    });
  }

  async ring(event: InboxDeadLetter, limitMs: number): Promise<void> {
    const message = event.messageKey ?? 'without a key';
    this.logger.error(
      `Message ${message} is a dead letter of ${event.consumer} after ${event.attempts} attempts: ${event.error}`,
    );
    await this.inTime(this.call(event, message), limitMs);
  }

  async ringDue(stopping: () => boolean): Promise<void> {
    await this.heard.write();
    for (let isMore = true; isMore && !stopping();) {
      const due = await this.parts.store.takeDue(DUE_SIZE);
      const outcomes = await Promise.all(due.map((record) => this.ringAgain(record)));
      // None heard: the callback itself is down, and is left alone until the next time.
      isMore = due.length === DUE_SIZE && outcomes.includes(true);
    }
  }

  async stop(): Promise<void> {
    this.unsubscribe?.();
    this.unsubscribe = null;
    await Promise.all(this.ringing);
    await this.heard.write();
  }

  private ringAgain(record: MessageRecord): Promise<boolean> {
    const { id, type, transport, destination, key, attempts } = record;
    const error = record.lastError ?? 'unknown';
    this.logger.error(
      `Message ${id} (${type}) is a dead letter since ${record.deadAt?.toISOString()}, and nobody has heard its alarm yet: ${error}`,
    );
    return this.ringForRow({ id, type, transport, destination, key, attempts, error });
  }

  /** @returns whether the alarm was heard in time. Heard late, it counts as well. */
  private async ringForRow(event: OutboxDeadLetter): Promise<boolean> {
    const { clock, leaseMs } = this.parts;
    const beganMs = clock.monotonicMs();
    const heard = this.call(event, event.id).then((isHeard) => {
      if (isHeard) this.heard.add(event.id, beganMs);
      return isHeard;
    });
    const outcome = await this.inTime(heard, leaseMs);
    if (outcome === null)
      this.logger.error(`The alarm for the dead letter ${event.id} has not ended after ${leaseMs} ms`);
    return outcome ?? false;
  }

  /** The callback's own end, however late: whether it went well. */
  private call(event: OutboxDeadLetter | InboxDeadLetter, message: string): Promise<boolean> {
    const { alarm, outside } = this.parts;
    if (alarm === undefined) return Promise.resolve(true);
    const call = outside(async () => {
      try {
        await alarm(event);
        return true;
      } catch (error) {
        this.logger.error(`The alarm for the dead letter ${message} failed: ${describeError(error)}`);
        return false;
      }
    });
    this.ringing.add(call);
    void call.then(() => this.ringing.delete(call));
    return call;
  }

  private async inTime(call: Promise<boolean>, limitMs: number): Promise<boolean | null> {
    let cancel: () => void = () => undefined;
    const late = new Promise<null>((resolve) => {
      cancel = this.parts.clock.after(limitMs, () => resolve(null));
    });
    try {
      return await Promise.race([call, late]);
    } finally {
      cancel();
    }
  }
}
