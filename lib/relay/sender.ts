import { Logger } from '@nestjs/common';
import type { Clock } from '../core/clock';
import { describeError } from '../core/errors';
import type { ClaimedMessage } from '../core/message';
import type { SendOutcome } from '../core/transport.port';
import { byKey } from './by-key';
import type { CompletionBatcher } from './completion-batcher';
import type { FailureBatcher } from './failure-batcher';
import { type HeldMessage, type SentVia, hold, isFollower } from './held-message';
import type { InHand } from './in-hand';
import { KeyRuns, type Refusal } from './key-runs';
import type { Flight, Lane } from './lane';
import type { ReleaseBatcher } from './release-batcher';
import type { SendWindow } from './send-window';

export interface SenderParts {
  readonly lanes: ReadonlyMap<string, Lane>;
  readonly window: SendWindow;
  readonly inHand: InHand;
  readonly completions: CompletionBatcher;
  readonly failures: FailureBatcher;
  readonly releases: ReleaseBatcher;
  readonly clock: Clock;
  /** Messages that may be read ahead, of all keys together. */
  readonly aheadMax: number;
  /** Whether this process sends what it holds of that transport. */
  readonly sendsNow: (transport: string) => boolean;
  /** How long a message is left alone whose handlers were not reachable. */
  readonly probeIntervalMs: number;
  /** Something is in hand now, so leases are to be watched. */
  readonly watchLeases: () => void;
  /** A place became free. */
  readonly freed: () => void;
}

/**
 * Sends claimed messages, and sees to it that each one's outcome is written down: the only way to the status `sent`.
 *
 * What happens when this process dies at any line: the rows are leased, and due again when the lease ends. What was with
 * the broker by then may have arrived, so it is sent twice; what was not is sent once. Nothing is held in the database
 * while a message is with its transport: no transaction, no lock, only the lease, which is a timestamp.
 */
export class Sender {
  private readonly logger = new Logger('OutboxRelay');
  /** Messages that were given up while the transport still had them: a late confirmation still counts. */
  private readonly forgotten = new WeakMap<ClaimedMessage, HeldMessage>();
  private readonly settlers = new Map<Lane, (message: ClaimedMessage, outcome: SendOutcome) => void>();
  readonly runs: KeyRuns;
  private closed = false;

  constructor(private readonly parts: SenderParts) {
    this.runs = new KeyRuns({
      ...parts,
      hasTimeLeft: (held, lane) => this.hasTimeLeft(held, lane),
      handOver: (lane, messages) => this.handOver(lane, messages),
    });
  }

  /**
   * Takes freshly claimed rows into hand. Those that cannot or must not be sent now are seen to here.
   * @param chained each was promoted when the one before it in its key was sent
   * @param ahead what was read behind them in their keys
   * @returns the others, ready for `send`.
   */
  take(
    messages: readonly ClaimedMessage[],
    via: SentVia,
    chained = false,
    ahead: readonly ClaimedMessage[] = [],
  ): HeldMessage[] {
    const ready: HeldMessage[] = [];
    const followers = ahead.length === 0 ? null : byKey(ahead);
    for (const message of messages) {
      // Confirmed already, and only not written down yet. That write asks for no token, so this claim changes nothing.
      if (this.parts.completions.has(message.id)) continue;
      const flight = this.parts.lanes.get(message.transport)?.flights.get(message.id);
      if (flight !== undefined) {
        // This process lost its lease and has the row again, and the first run still goes on. A second one must not
        // start; the first is carried on under the new claim.
        flight.held.message = message;
        flight.held.leaseEndsAtMs = message.leaseEndsAtMs;
        if (this.leaveRun(flight.held)) this.parts.inHand.add(flight.held);
        continue;
      }
      const held = hold(message, via, chained, followers?.get(message.keyHash));
      this.parts.inHand.add(held);
      const refusal = this.runs.refusalOf(message.id);
      if (refusal !== undefined) this.refused(held, refusal);
      else if (this.closed) this.parts.releases.add(held);
      else ready.push(held);
    }
    if (ready.length > 0) this.parts.watchLeases();
    return ready;
  }

  /** Sends, by transport, in the order given. Whoever calls has seen that there is room. */
  send(messages: readonly HeldMessage[]): void {
    const batches = new Map<Lane, HeldMessage[]>();
    for (const held of messages) {
      const lane = this.parts.lanes.get(held.message.transport);
      if (lane === undefined || !lane.gate.isOpen || !this.hasTimeLeft(held, lane)) {
        this.parts.releases.add(held);
        continue;
      }
      const batch = batches.get(lane);
      if (batch === undefined) batches.set(lane, [held]);
      else batch.push(held);
    }
    for (const [lane, batch] of batches) this.transmit(lane, batch);
  }

  /** Whether the lease lasts for a sending that takes as long as it may. */
  hasTimeLeft(held: HeldMessage, lane: Lane): boolean {
    return held.leaseEndsAtMs - this.parts.clock.monotonicMs() >= lane.leaseNeededMs;
  }

  /** The transport did not settle it within the lease. The row is due again by itself. */
  overdue(lane: Lane, flight: Flight): void {
    const { id, type } = flight.held.message;
    this.logger.warn(`Message ${id} (${type}) got no outcome from transport ${lane.name} within its lease`);
    this.forget(lane, flight);
    if (!this.leaveRun(flight.held)) this.parts.inHand.done(flight.held);
    this.parts.freed();
  }

  /**
   * Shutdown: takes nothing more, and gives back what the brokers have not confirmed. Leases of messages whose handlers
   * still run are kept: given back, another relay would run the same handlers at the same time.
   */
  close(): void {
    this.closed = true;
    for (const lane of this.parts.lanes.values()) {
      if (lane.renewsLeases) continue;
      for (const flight of [...lane.flights.values()]) {
        this.forget(lane, flight);
        if (!this.leaveRun(flight.held)) this.parts.releases.add(flight.held);
      }
    }
  }

  private transmit(lane: Lane, batch: readonly HeldMessage[]): void {
    const messages = batch.map((held) => held.message);
    for (const held of batch) lane.flights.set(held.message.id, { held, sent: held.message });
    this.parts.window.flying += batch.length;
    this.handOver(lane, messages);
  }

  /** One function for all sends of a lane: the hot path makes none for each. */
  private settlerOf(lane: Lane): (message: ClaimedMessage, outcome: SendOutcome) => void {
    const known = this.settlers.get(lane);
    if (known !== undefined) return known;
    const settler = (message: ClaimedMessage, outcome: SendOutcome): void =>
      this.settle(lane, message, outcome);
    this.settlers.set(lane, settler);
    return settler;
  }

  private handOver(lane: Lane, messages: readonly ClaimedMessage[]): void {
    try {
      lane.transport.send(messages, this.settlerOf(lane));
    } catch (error) {
      // Against the port's contract. Alone, each message shows whether it is the one.
      const [first] = messages;
      if (messages.length === 1 && first !== undefined) {
        this.settle(lane, first, {
          kind: 'refused',
          error: `The transport threw: ${describeError(error)}`,
          retry: true,
        });
      } else {
        for (const message of messages) {
          if (lane.flights.get(message.id)?.sent === message) this.handOver(lane, [message]);
        }
      }
    }
  }

  private settle(lane: Lane, message: ClaimedMessage, outcome: SendOutcome): void {
    const flight = lane.flights.get(message.id);
    if (flight?.sent !== message) {
      this.settleLate(message, outcome);
      return;
    }
    lane.flights.delete(message.id);
    if (outcome.kind === 'confirmed' && this.runs.goOn(lane, flight.held)) return;
    this.parts.window.flying -= 1;
    this.record(lane, flight.held, outcome);
    this.parts.freed();
  }

  private record(lane: Lane, held: HeldMessage, outcome: SendOutcome): void {
    switch (outcome.kind) {
      case 'confirmed':
        lane.gate.answered();
        if (held.run !== null) this.runs.end(held.run);
        else this.completed(held, this.isWaitedFor(held));
        break;
      case 'refused':
        lane.gate.answered();
        this.refused(held, outcome);
        break;
      case 'unreachable':
        this.unreachable(lane, held, outcome.error);
        break;
    }
  }

  /** The key's next message waits for this one to be written down. Whether there is one, is known of chained ones alone. */
  private isWaitedFor({ message, chained }: HeldMessage): boolean {
    return chained || (message.keyHash !== null && this.parts.window.flying === 0);
  }

  private unreachable(lane: Lane, held: HeldMessage, error: string): void {
    lane.gate.unreachable(error);
    if (this.leaveRun(held)) return;
    if (!lane.renewsLeases) this.parts.releases.add(held);
    // Without a breaker a pause stands in for it; and at shutdown its handlers may still be running, see close().
    else if (!this.closed) this.parts.releases.add(held, this.parts.probeIntervalMs);
    else this.parts.inHand.done(held);
  }

  private settleLate(message: ClaimedMessage, outcome: SendOutcome): void {
    const held = this.forgotten.get(message);
    if (held === undefined || !this.forgotten.delete(message) || outcome.kind !== 'confirmed') return;
    this.completed(held, false);
  }

  private completed(held: HeldMessage, urgent: boolean): void {
    this.parts.window.unwritten += 1;
    this.parts.completions.add(held, urgent);
  }

  private refused(held: HeldMessage, refusal: Refusal): void {
    if (held.run !== null && isFollower(held)) {
      this.runs.refused(held.run, held.message.id, refusal);
      this.leaveRun(held);
    } else {
      this.parts.window.unwritten += 1;
      this.parts.failures.add(held, refusal.error, refusal.retry);
    }
  }

  /** What was sent in a run, behind its head, ends it without a confirmation. @returns false: it was sent by itself. */
  private leaveRun(held: HeldMessage): boolean {
    const { run } = held;
    if (run === null || !isFollower(held)) return false;
    held.run = null;
    this.runs.end(run);
    return true;
  }

  private forget(lane: Lane, flight: Flight): void {
    lane.flights.delete(flight.held.message.id);
    this.parts.window.flying -= 1;
    this.forgotten.set(flight.sent, flight.held);
  }
}
