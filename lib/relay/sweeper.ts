import { Logger } from '@nestjs/common';
import type { Clock } from '../core/clock';
import type { OutboxEvents } from '../core/events';
import type { MessageRecord } from '../core/message';
import type { OutboxStore } from '../core/outbox-store.port';
import type { BackgroundHealth } from './background-health';
import { PeriodicTask } from './periodic-task';

const LIMIT = 500;

export interface SweeperSettings {
  readonly sweepIntervalMs: number;
  readonly claimsMax: number;
  /** Some were promoted, and nobody holds them. */
  readonly bornDue: () => void;
}

/**
 * Finds what crashes leave behind: blocked rows whose predecessor is gone, rows that kill whoever sends them, and rows
 * that are past their time. Each relay does it; the store's writes are conditional, so one of them moves a row.
 */
export class Sweeper extends PeriodicTask {
  constructor(
    settings: SweeperSettings,
    store: Pick<OutboxStore, 'quarantine' | 'sweep'>,
    events: OutboxEvents,
    clock: Clock,
    health: BackgroundHealth,
  ) {
    const logger = new Logger('OutboxRelay');
    super(
      {
        task: 'Sweeping',
        intervalMs: settings.sweepIntervalMs,
        atOnce: true,
        async run(stopping) {
          // First: what is given up may free its key's next message.
          await repeat(stopping, async () => {
            const givenUp = await store.quarantine(settings.claimsMax, LIMIT);
            for (const record of givenUp) tell(events, record);
            logExpired(logger, givenUp);
            return givenUp.length;
          });
          await repeat(stopping, async () => {
            const promoted = await store.sweep(LIMIT);
            if (promoted > 0) settings.bornDue();
            return promoted;
          });
        },
      },
      clock,
      health,
    );
  }
}

async function repeat(stopping: () => boolean, step: () => Promise<number>): Promise<void> {
  for (let count = LIMIT; count >= LIMIT && !stopping();) count = await step();
}

function tell(events: OutboxEvents, record: MessageRecord): void {
  const { id, type, transport, destination, key, attempts, status } = record;
  if (status === 'cancelled') {
    events.emit('message.expired', { id, type, transport, destination, key });
    return;
  }
  const error = record.lastError ?? 'taken again and again without any outcome';
  events.emit('message.deadLetter', { id, type, transport, destination, key, attempts, error });
}

function logExpired(logger: Logger, givenUp: readonly MessageRecord[]): void {
  const count = givenUp.filter(({ status }) => status === 'cancelled').length;
  if (count > 0) logger.warn(`${count} messages expired before they could be sent, and are cancelled`);
}
