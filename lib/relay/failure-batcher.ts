import type { Clock } from '../core/clock';
import type { OutboxEvents } from '../core/events';
import type { OutboxStore } from '../core/outbox-store.port';
import type { BackgroundHealth } from './background-health';
import type { HeldMessage } from './held-message';
import { messageRef } from './message-ref';
import type { RetrySettings } from './relay-settings';
import { retryInMs } from './retry-policy';
import { WriteBehind } from './write-behind';

const SIZE_MAX = 100;
const DELAY_MS = 5;

interface RefusedMessage {
  readonly held: HeldMessage;
  readonly attempts: number;
  readonly error: string;
  readonly retryInMs: number | null;
}

export interface FailureSettings {
  readonly retry: RetrySettings;
  /** It is out of this process's hands: written down, or taken by somebody else, or not worth writing any more. */
  readonly written: (message: HeldMessage, outcome: { retryInMs: number | null } | 'not-moved') => void;
  readonly random: () => number;
}

/**
 * Writes refusals down: one attempt more, and then a back-off or a dead letter. The events are told only of rows that
 * really moved, so the alarm rings once a dead letter, whoever else holds the row by now.
 */
export class FailureBatcher {
  private readonly writer: WriteBehind<RefusedMessage>;

  constructor(
    private readonly settings: FailureSettings,
    private readonly store: Pick<OutboxStore, 'fail'>,
    private readonly events: OutboxEvents,
    private readonly clock: Clock,
    health: BackgroundHealth,
  ) {
    this.writer = new WriteBehind<RefusedMessage>(
      {
        task: 'Writing down refused messages',
        sizeMax: SIZE_MAX,
        delayMs: DELAY_MS,
        write: (failures) => this.write(failures),
        // After its lease the row is due again by itself; that refusal is then told at its next sending.
        worthRetrying: ({ held }) => held.leaseEndsAtMs > this.clock.monotonicMs(),
        dropped: ({ held }) => this.settings.written(held, 'not-moved'),
      },
      clock,
      health,
    );
  }

  add(held: HeldMessage, error: string, retry: boolean): void {
    const attempts = held.message.attempts + 1;
    this.writer.add({
      held,
      attempts,
      error: storable(error),
      retryInMs: retry ? retryInMs(this.settings.retry, attempts, this.settings.random()) : null,
    });
  }

  flush(): Promise<void> {
    this.writer.flush();
    return this.writer.whenIdle();
  }

  close(): void {
    this.writer.close();
  }

  private async write(failures: readonly RefusedMessage[]): Promise<void> {
    const moved = new Set(
      await this.store.fail(
        failures.map(({ held, error, retryInMs }) => ({
          id: held.message.id,
          token: held.message.token,
          error,
          retryInMs,
        })),
      ),
    );
    for (const failure of failures) {
      if (moved.has(failure.held.message.id)) this.tell(failure);
      this.settings.written(failure.held, moved.has(failure.held.message.id) ? failure : 'not-moved');
    }
  }

  private tell({ held, attempts, error, retryInMs }: RefusedMessage): void {
    const told = { ...messageRef(held.message), attempts, error };
    if (retryInMs === null) this.events.emit('message.deadLetter', told);
    else this.events.emit('message.retry', { ...told, retryInMs });
  }
}

/** PostgreSQL refuses NUL in text, and one such error text must not keep a whole batch from being written. */
function storable(error: string): string {
  return error.replace(/[\u0000-\u001f]+/g, ' ').slice(0, 1_000);
}
