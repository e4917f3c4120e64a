import { Logger } from '@nestjs/common';
import type { Clock } from '../core/clock';
import type {
  DeadLetter,
  DeadLetterFilter,
  DeadLetterPage,
  DeadLetterStore,
} from '../core/dead-letter-store.port';
import type { OutboxEvents } from '../core/events';
import type { OutboxStore } from '../core/outbox-store.port';
import type { RelayControl } from '../core/relay-control.port';

const PAGE_SIZE = 100;
/** Rows of one statement: an operation on very many is many small ones. */
const BATCH_SIZE = 500;

export interface DeadLetterOptions {
  /** At most so many, oldest first. @default all that fit the filter when the call begins */
  readonly limit?: number;
  /** Moves nothing, and tells what would be moved. @default false */
  readonly dryRun?: boolean;
}

/** What was moved, or would be. */
export interface DeadLetterResult {
  readonly ids: readonly string[];
  readonly count: number;
  /** What an operator should know about it; also logged. Null in most cases. */
  readonly warning: string | null;
}

export interface DeadLetterParts {
  readonly store: DeadLetterStore;
  readonly outbox: Pick<OutboxStore, 'promote'>;
  readonly relay: Pick<RelayControl, 'wake'>;
  readonly events: OutboxEvents;
  readonly clock: Clock;
  /** How long consumers remember message keys. Milliseconds. */
  readonly inboxMs: number;
}

/**
 * The messages that were given up on: look at them, send them again, or discard them. Inject it.
 *
 * Safe to use from several processes at once: each dead letter moves once, and is told of once.
 */
export class DeadLetters {
  private readonly logger = new Logger('DeadLetters');

  constructor(private readonly parts: DeadLetterParts) {}

  /**
   * Dead letters that fit the filter, oldest first, each with how many messages of its key wait behind it; and with
   * `{ parking: true }` those alone that hold others.
   * @param page `limit` 100 when not given; `after` is the last page's `next`.
   */
  list(
    filter: DeadLetterFilter = {},
    page: { readonly limit?: number; readonly after?: string } = {},
  ): Promise<DeadLetterPage> {
    return this.parts.store.list(filter, { ...page, limit: page.limit ?? PAGE_SIZE });
  }

  /** One message with its payload, dead or not, and how many it holds back; null where there is none. */
  get(id: string): Promise<DeadLetter | null> {
    return this.parts.store.get(id);
  }

  count(filter: DeadLetterFilter = {}): Promise<number> {
    return this.parts.store.count(filter);
  }

  /**
   * Sends dead letters again: one by its id, or all that fit a filter (an empty filter is all). Their attempts start over.
   * Consumers drop a message that they have handled already, as long as their inbox remembers it; a redrive of older ones
   * warns.
   */
  async redrive(
    which: string | DeadLetterFilter,
    options: DeadLetterOptions = {},
  ): Promise<DeadLetterResult> {
    const filter = filterOf(which);
    const warning = await this.inboxWarning(filter);
    if (options.dryRun === true) return this.preview(filter, options.limit, warning);
    if (warning !== null) this.logger.warn(warning);
    const ids = await this.inBatches(filter, options.limit, async (limit) => {
      const moved = await this.parts.store.redrive(filter, limit);
      for (const id of moved) this.parts.events.emit('message.redriven', { id });
      return moved;
    });
    if (ids.length > 0) {
      this.logger.log(`${ids.length} dead letters are to be sent again`);
      this.parts.relay.wake();
    }
    return { ids, count: ids.length, warning };
  }

  /** Gives dead letters up for good: they will never be sent. Later messages of a key that they parked go on. */
  async discard(
    which: string | DeadLetterFilter,
    options: DeadLetterOptions = {},
  ): Promise<DeadLetterResult> {
    const filter = filterOf(which);
    if (options.dryRun === true) return this.preview(filter, options.limit, null);
    const ids = await this.inBatches(filter, options.limit, async (limit) => {
      const discarded = await this.parts.store.discard(filter, limit);
      for (const id of discarded.ids) this.parts.events.emit('message.discarded', { id });
      // A crash before this line leaves the keys to the relays' sweepers.
      if (discarded.keyHashes.length > 0)
        await this.parts.outbox.promote([...new Set(discarded.keyHashes)], null);
      return discarded.ids;
    });
    if (ids.length > 0) {
      this.logger.log(`${ids.length} dead letters are discarded`);
      this.parts.relay.wake();
    }
    return { ids, count: ids.length, warning: null };
  }

  /** No more than there are now: a message that dies again meanwhile must not be moved in a circle. */
  private async inBatches(
    filter: DeadLetterFilter,
    limit: number | undefined,
    move: (limit: number) => Promise<readonly string[]>,
  ): Promise<string[]> {
    const moved: string[] = [];
    let left = Math.min(limit ?? Number.POSITIVE_INFINITY, await this.parts.store.count(filter));
    while (left > 0) {
      const ids = await move(Math.min(left, BATCH_SIZE));
      moved.push(...ids);
      if (ids.length < Math.min(left, BATCH_SIZE)) break;
      left -= ids.length;
    }
    return moved;
  }

  private async preview(
    filter: DeadLetterFilter,
    limit = Number.POSITIVE_INFINITY,
    warning: string | null,
  ): Promise<DeadLetterResult> {
    const ids: string[] = [];
    let after: string | undefined;
    while (ids.length < limit) {
      const page = await this.parts.store.list(filter, {
        limit: Math.min(BATCH_SIZE, limit - ids.length),
        after,
      });
      ids.push(...page.items.map(({ id }) => id));
      if (page.next === null) break;
      after = page.next;
    }
    return { ids, count: ids.length, warning };
  }

  private async inboxWarning(filter: DeadLetterFilter): Promise<string | null> {
    const [oldest] = (await this.parts.store.list(filter, { limit: 1 })).items;
    if (oldest === undefined) return null;
    const ageMs = this.parts.clock.wallMs() - oldest.createdAt.getTime();
    if (ageMs <= this.parts.inboxMs) return null;
    return (
      `Message ${oldest.id} (${oldest.type}) is ${days(ageMs)} days old, and inboxes remember ${days(this.parts.inboxMs)} ` +
      'days: if a copy of it, or of others as old, was handled back then, its consumers will handle it once more'
    );
  }
}

function filterOf(which: string | DeadLetterFilter): DeadLetterFilter {
  return typeof which === 'string' ? { ids: [which] } : which;
}

function days(durationMs: number): number {
  return Math.round(durationMs / 8_640_000) / 10;
}
