import { Logger } from '@nestjs/common';
import type { AlarmStore } from '../core/alarm.port';
import type { CancelTimer, Clock } from '../core/clock';
import { describeError } from '../core/errors';

/** So long a heard alarm waits for others to share its statement. */
const DELAY_MS = 20;

/** Writes down which alarms were heard, in one statement for many. What cannot be written down waits for the next time. */
export class HeardAlarms {
  private readonly logger = new Logger('DeadLetters');
  private readonly writing = new Set<Promise<void>>();
  private waiting: { readonly id: string; readonly beganMs: number }[] = [];
  private cancelTimer: CancelTimer | null = null;

  constructor(
    private readonly store: Pick<AlarmStore, 'heard'>,
    private readonly clock: Clock,
  ) {}

  /** @param beganMs when its ringing began, by the monotonic clock. */
  add(id: string, beganMs: number): void {
    this.waiting.push({ id, beganMs });
    this.cancelTimer ??= this.clock.after(DELAY_MS, () => void this.write());
  }

  /** Resolves when everything so far was tried. Never rejects. */
  async write(): Promise<void> {
    this.cancelTimer?.();
    this.cancelTimer = null;
    const some = this.waiting.splice(0);
    if (some.length > 0) {
      const written = this.tryToWrite(some);
      this.writing.add(written);
      void written.then(() => this.writing.delete(written));
    }
    await Promise.all(this.writing);
  }

  private async tryToWrite(some: typeof this.waiting): Promise<void> {
    const nowMs = this.clock.monotonicMs();
    try {
      await this.store.heard(some.map(({ id, beganMs }) => ({ id, sinceMs: nowMs - beganMs })));
    } catch (error) {
      this.waiting.unshift(...some);
      this.logger.warn(
        `The alarms of ${some.length} dead letters were heard, but that could not be written down, so they may ring ` +
          `once more: ${describeError(error)}`,
      );
    }
  }
}
