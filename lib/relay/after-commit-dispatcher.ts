import type { ClaimedMessage } from '../core/message';
import type { HeldMessage } from './held-message';
import type { Lane } from './lane';
import type { ReleaseBatcher } from './release-batcher';
import type { SendWindow } from './send-window';
import type { Sender } from './sender';

/** With so many on their way, another one soon shares its write with others; with fewer, it would wait for nobody. */
const COMPANY_MIN = 16;

export interface DispatcherParts {
  readonly lanes: ReadonlyMap<string, Lane>;
  readonly sender: Sender;
  readonly window: SendWindow;
  readonly releases: ReleaseBatcher;
  /** Messages that may wait in memory, of all transports together. */
  readonly queueSizeMax: number;
}

/**
 * The fast path: messages whose lease this process holds wait here, in memory, for their turn.
 *
 * Handing over costs the committing transaction no more than a push. Sending follows when its code is through; and where
 * many messages are on their way, on the next turn of the event loop, so that many commits share one call to the transport.
 * Each transport has a queue of its own, so none waits for another.
 * What does not fit, or waited too long, gives its lease back and is the resend job's: the table is the real queue.
 */
export class AfterCommitDispatcher {
  private queued = 0;
  private scheduled = false;
  private closed = false;

  constructor(private readonly parts: DispatcherParts) {}

  /** Whether a message of this transport, committed now, would be sent from here. */
  accepts(transport: string): boolean {
    return (
      !this.closed &&
      this.queued < this.parts.queueSizeMax &&
      this.parts.lanes.get(transport)?.gate.isOpen === true
    );
  }

  /**
   * Takes claimed messages over, in the order given. Synchronous; touches memory alone.
   * @param chained each was promoted when the one before it in its key was sent
   * @param ahead what was read behind them in their keys
   */
  hand(messages: readonly ClaimedMessage[], chained = false, ahead: readonly ClaimedMessage[] = []): void {
    for (const held of this.parts.sender.take(messages, 'fast-path', chained, ahead)) {
      const lane = this.parts.lanes.get(held.message.transport);
      if (lane === undefined || !this.accepts(lane.name)) {
        this.parts.releases.add(held);
        continue;
      }
      lane.queue.push(held);
      this.queued += 1;
    }
    this.schedule();
  }

  /** Sends what there is room for, soon. Cheap, and may be called for every settled message. */
  schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    const pump = (): void => {
      this.scheduled = false;
      this.pump();
    };
    if (this.parts.window.flying < COMPANY_MIN) process.nextTick(pump);
    else setImmediate(pump);
  }

  /** Gives back what has waited too long to be sent within its lease. The oldest are in front. */
  tidy(lane: Lane): void {
    for (let first = lane.queue.peek(); first !== undefined; first = lane.queue.peek()) {
      if (this.parts.sender.hasTimeLeft(first, lane)) return;
      this.giveBackFirst(lane);
    }
  }

  /** The transport is closed: others may be able to send what waits for it. */
  empty(lane: Lane): void {
    while (lane.queue.length > 0) this.giveBackFirst(lane);
  }

  /** Shutdown: gives everything back, and whatever still comes. */
  close(): void {
    this.closed = true;
    for (const lane of this.parts.lanes.values()) this.empty(lane);
  }

  private pump(): void {
    for (const lane of this.parts.lanes.values()) {
      this.tidy(lane);
      const batch: HeldMessage[] = [];
      for (let room = this.parts.window.fastPathRoom(lane); room > 0 && lane.queue.length > 0; room -= 1) {
        batch.push(this.shift(lane));
      }
      if (batch.length > 0) this.parts.sender.send(batch);
    }
  }

  private giveBackFirst(lane: Lane): void {
    this.parts.releases.add(this.shift(lane));
  }

  private shift(lane: Lane): HeldMessage {
    this.queued -= 1;
    return lane.queue.shift()!;
  }
}
