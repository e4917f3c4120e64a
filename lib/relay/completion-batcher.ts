import type { Clock } from '../core/clock';
import type { OutboxEvents } from '../core/events';
import type { ClaimedMessage } from '../core/message';
import type { ClaimTerms, OutboxStore, ReadAhead } from '../core/outbox-store.port';
import type { BackgroundHealth } from './background-health';
import type { HeldMessage } from './held-message';
import { WriteBehind } from './write-behind';

/** What runs of keys have to do with the statement that writes them down; see key-runs.ts. */
export interface RunReader {
  readsOn(message: HeldMessage): boolean;
  readAhead(messages: readonly HeldMessage[]): ReadAhead;
  goFurther(further: readonly ClaimedMessage[]): void;
}

export interface CompletionSettings {
  readonly completionSizeMax: number;
  readonly completionDelayMs: number;
  /** They are written down as sent. @param through keys that have been looked at: of the others, somebody must promote the next message */
  readonly written: (messages: readonly HeldMessage[], through: ReadonlySet<bigint>) => void;
  /** Whether this process would send the next message of a key at once. */
  readonly sendsNow: (transport: string) => boolean;
  readonly terms: () => ClaimTerms;
  /** They tell how much to read ahead, when these are written down, and are told what was read for those that go on. */
  readonly runs: RunReader;
  /** These were promoted, and this process holds them. @param ahead what follows them in their keys */
  readonly hand: (messages: readonly ClaimedMessage[], ahead: readonly ClaimedMessage[]) => void;
  /** Some were promoted, and nobody holds them. */
  readonly bornDue: () => void;
}

/**
 * Writes confirmed messages down as sent: many with one statement, and again until the database takes it.
 *
 * A confirmation is never dropped while this process lives, however long the database is away: it would be sent once more
 * for nothing. If that takes longer than the lease, another relay may send it again (at least once); this process knows
 * better and does not, see `has`.
 */
export class CompletionBatcher {
  private readonly writer: WriteBehind<HeldMessage>;
  private readonly unwritten = new Set<string>();

  constructor(
    private readonly settings: CompletionSettings,
    private readonly store: Pick<OutboxStore, 'complete' | 'completeAndPromote'>,
    private readonly events: OutboxEvents,
    clock: Clock,
    health: BackgroundHealth,
  ) {
    this.writer = new WriteBehind<HeldMessage>(
      {
        task: 'Writing down sent messages',
        sizeMax: settings.completionSizeMax,
        delayMs: settings.completionDelayMs,
        write: (messages) => this.write(messages),
        worthRetrying: () => true,
        dropped: () => undefined,
      },
      clock,
      health,
    );
  }

  /** It is confirmed, and will be added when the run is over that it is in. */
  confirmed({ message }: HeldMessage): void {
    this.unwritten.add(message.id);
  }

  /** @param urgent write it now: others wait for this one, and nothing else is coming that could share its statement. */
  add(message: HeldMessage, urgent: boolean): void {
    this.unwritten.add(message.message.id);
    this.writer.add(message);
    if (urgent) this.writer.flushUnlessFailing();
  }

  /** Whether this message is confirmed, and only not written down yet: then it must not be sent again. */
  has(id: string): boolean {
    return this.unwritten.has(id);
  }

  flush(): Promise<void> {
    this.writer.flush();
    return this.writer.whenIdle();
  }

  close(): void {
    this.writer.close();
  }

  private async write(messages: readonly HeldMessage[]): Promise<void> {
    const through = await this.complete(messages);
    const heard = this.events.has('message.sent');
    for (const { message, via } of messages) {
      this.unwritten.delete(message.id);
      if (heard) {
        // Named one by one, as a spread would cost more than all the rest of this.
        const { id, type, transport, destination, key, attempts } = message;
        this.events.emit('message.sent', {
          id,
          type,
          transport,
          destination,
          key,
          attempts: attempts + 1,
          via,
        });
      }
    }
    this.settings.written(messages, through);
  }

  /**
   * In a chain, the next messages are promoted and read along; for a run that goes on, more is read.
   * @returns the keys for which messages were promoted
   */
  private async complete(messages: readonly HeldMessage[]): Promise<ReadonlySet<bigint>> {
    const { sendsNow, terms, runs, hand, bornDue } = this.settings;
    const wanted = new Set<bigint>();
    const followed: HeldMessage[] = [];
    const completions = messages.map((held) => {
      const { id, keyHash, transport } = held.message;
      const promotes = held.chained && keyHash !== null && sendsNow(transport);
      if (promotes || runs.readsOn(held)) followed.push(held);
      if (!promotes) return { id, keyHash: null };
      wanted.add(keyHash);
      return { id, keyHash };
    });
    if (followed.length === 0) {
      await this.store.complete(completions.map(({ id }) => id));
      return wanted;
    }
    const { promoted, claimed, ahead, further, left } = await this.store.completeAndPromote(
      completions,
      terms(),
      runs.readAhead(followed),
    );
    runs.goFurther(further);
    for (const keyHash of left) wanted.delete(keyHash);
    // Into the hand before the predecessors are out of it: whoever waits for a key's messages can follow them.
    if (claimed.length > 0) hand(claimed, ahead);
    if (promoted > claimed.length) bornDue();
    return wanted;
  }
}
