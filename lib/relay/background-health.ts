import type { Logger } from '@nestjs/common';
import { describeError } from '../core/errors';
import type { OutboxEvents } from '../core/events';

/**
 * What goes wrong in the background, told once: a database that is away for an hour makes one line when it goes and one
 * when it is back, and an event for each failure.
 */
export class BackgroundHealth {
  private readonly failing = new Set<string>();

  constructor(
    private readonly events: OutboxEvents,
    private readonly logger: Pick<Logger, 'warn' | 'log'>,
  ) {}

  failed(task: string, error: unknown): void {
    const described = describeError(error);
    if (!this.failing.has(task)) {
      this.failing.add(task);
      this.logger.warn(`${task} failed and will be tried again: ${described}`);
    }
    this.events.emit('relay.error', { task, error: described });
  }

  worked(task: string): void {
    if (this.failing.delete(task)) this.logger.log(`${task} works again`);
  }
}
