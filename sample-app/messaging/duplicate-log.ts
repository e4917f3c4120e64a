import { Injectable, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { randomUUID } from 'node:crypto';
import { Outbox, OutboxEvents } from 'nestjs-outbox';
import type { Repository } from 'typeorm';

import { DroppedDuplicate } from './dropped-duplicate.entity';

/** Writes down each duplicate that was dropped, for the demo's table: an example of what events are good for. */
@Injectable()
export class DuplicateLog implements OnModuleInit, OnModuleDestroy {
  private unsubscribe: () => void = () => undefined;

  constructor(
    private readonly events: OutboxEvents,
    private readonly outbox: Outbox,
    @InjectRepository(DroppedDuplicate) private readonly duplicates: Repository<DroppedDuplicate>,
  ) {}

  onModuleInit(): void {
    this.unsubscribe = this.events.on('inbox.duplicate', ({ consumer, messageKey }) =>
      // The event comes from within a handler's transaction; the note is not to depend on that.
      this.outbox.outside(() => this.write(consumer, messageKey ?? '')),
    );
  }

  onModuleDestroy(): void {
    this.unsubscribe();
  }

  private async write(consumer: string, messageKey: string): Promise<void> {
    await this.duplicates.insert({ id: randomUUID(), consumer, messageKey });
  }
}
