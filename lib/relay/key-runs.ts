import type { Clock } from '../core/clock';
import type { ClaimedMessage } from '../core/message';
import type { ReadAhead } from '../core/outbox-store.port';
import type { CompletionBatcher } from './completion-batcher';
import type { HeldMessage, Run } from './held-message';
import type { InHand } from './in-hand';
import type { Lane } from './lane';
import type { SendWindow } from './send-window';

/*
 * Runs: messages of one key that leave one after the other without a look at the database in between.
 *
 * The statement that promotes and claims a key's next message, the head, also reads some of those behind it, and changes
 * nothing about them: in the table they stay `blocked`. Each is sent when the broker has confirmed the one before it. When
 * the run is over, one statement makes all of it `sent`, and promotes, claims and reads the next ones.
 *
 * Why nobody else sends them meanwhile: only a key's `pending` message is ever claimed, and that is our head, for as long
 * as its lease lasts. It is confirmed first and written down last, in the same statement or in a later one than those
 * behind it; and none of these is sent with too little left of that lease. So a run is what one long sending of the head
 * would be.
 *
 * Why first copies stay in order, even where that fence is broken (a process that stood still for longer than its lease):
 * whoever sends a message has had the confirmation of the one before it, or found that one written down. What was read
 * has no gaps, so each sender keeps to the order of the key, from a beginning that is no further than what is
 * confirmed. Of several senders that all do so, the first copies come in order, whoever is ahead. What it costs are
 * duplicates.
 *
 * When this process dies, the head is due again once its lease is over, and whoever takes it sends it again, and then those
 * behind it: at most one run of duplicates for each key, and the longest is LENGTH_MAX messages or RUN_MS_MAX. A head that
 * is claimed like this has nothing read along, and goes alone; so a message that kills its process comes to be a head
 * itself, whose `claims` count, and is quarantined as such.
 *
 * "Sent" is a fact: it is written down from `pending` and from `blocked` alike, by whoever knows it and however late. What
 * is promoted then is the store's to say, by the same rule as always.
 *
 * A message in a run that has no confirmation ends the run, and those behind it are forgotten: their rows were never
 * touched. Where the outcome is unknown, the row of that message is promoted like any other, and sent again. A refusal is
 * kept until then, because only a pending row of ours can fail: when it comes back claimed, it is not sent, but fails.
 *
 * A run has one place among those in flight, whatever its length, and gives it to others after RUN_MS_MAX. Transports that
 * confirm when handlers have finished have no runs: their leases are renewed message by message, and the time that runs
 * save is nothing beside a handler's.
 */

/** A run takes no longer. It bounds what is sent twice after a crash, and how long a key keeps its place. */
const RUN_MS_MAX = 250;
const LENGTH_MAX = 250;
/** So many are read at first; then twice as many as the last run of the key had time for. */
const LENGTH_FIRST = 10;
const BYTES_MAX = 262_144;

export interface KeyRunsParts {
  readonly lanes: ReadonlyMap<string, Lane>;
  readonly window: SendWindow;
  readonly inHand: InHand;
  readonly completions: CompletionBatcher;
  readonly clock: Clock;
  /** Messages that may be read ahead, of all keys together. */
  readonly aheadMax: number;
  readonly sendsNow: (transport: string) => boolean;
  readonly hasTimeLeft: (held: HeldMessage, lane: Lane) => boolean;
  /** To the transport; they are among the lane's flights. */
  readonly handOver: (lane: Lane, messages: readonly ClaimedMessage[]) => void;
}

export interface Refusal {
  readonly error: string;
  readonly retry: boolean;
}

export class KeyRuns {
  private readonly next = new Map<Lane, ClaimedMessage[]>();
  private readonly refusals = new Map<string, Refusal>();

  constructor(private readonly parts: KeyRunsParts) {}

  /** How much to read when these are written down, whose keys' next messages are promoted along. */
  readAhead(completed: readonly HeldMessage[]): ReadAhead {
    const { lanes, inHand, aheadMax } = this.parts;
    let keys = 0;
    let longest = 0;
    let released = 0;
    for (const { message, run } of completed) {
      if (lanes.get(message.transport)?.renewsLeases !== false) continue;
      keys += 1;
      longest = Math.max(longest, run?.confirmed.length ?? 0);
      released += run?.followers.length ?? 0;
    }
    if (keys === 0) return { count: 0, bytes: 0 };
    const share = aheadMax / Math.max(keys, inHand.runs);
    const room = (aheadMax - inHand.ahead + released) / keys;
    const count = Math.min(Math.max(2 * longest, LENGTH_FIRST), LENGTH_MAX, share, room);
    return { count: Math.max(0, Math.floor(count)), bytes: BYTES_MAX };
  }

  /** One is confirmed. @returns whether its run goes on: then the next one has its place in flight. */
  goOn(lane: Lane, held: HeldMessage): boolean {
    const { run } = held;
    if (run === null) return false;
    const now = this.parts.clock.monotonicMs();
    if (held === run.head) run.endsAtMs = now + RUN_MS_MAX;
    run.confirmed.push(held);
    this.parts.completions.confirmed(held);
    const next = run.followers[run.confirmed.length - 1];
    if (next === undefined || now >= run.endsAtMs || !this.maySend(lane, run, next)) return false;
    const { via, leaseEndsAtMs } = run.head;
    lane.flights.set(next.id, {
      held: { message: next, via, chained: false, leaseEndsAtMs, run },
      sent: next,
    });
    this.sendSoon(lane, next);
    return true;
  }

  /** Nothing more of it is sent: what is confirmed is written down, the head last. */
  end({ head, confirmed }: Run): void {
    this.parts.window.unwritten += confirmed.length;
    for (const held of confirmed) if (held !== head) this.parts.completions.add(held, false);
    this.parts.completions.add(head, true);
  }

  /** A follower was refused. Its row is not ours yet. */
  refused(run: Run, id: string, refusal: Refusal): void {
    run.refusedId = id;
    this.refusals.set(id, refusal);
  }

  /** Whether a message that was just claimed is one of these: then it is to fail. Asked once. */
  refusalOf(id: string): Refusal | undefined {
    if (this.refusals.size === 0) return undefined;
    const refusal = this.refusals.get(id);
    this.refusals.delete(id);
    return refusal;
  }

  /** The head is written down. A refusal whose message was not promoted for us is told at its next sending. */
  written({ run }: HeldMessage): void {
    if (run !== null && run.refusedId !== null) this.refusals.delete(run.refusedId);
  }

  private maySend(lane: Lane, { head }: Run, next: ClaimedMessage): boolean {
    return (
      next.transport === lane.name &&
      this.parts.sendsNow(lane.name) &&
      this.parts.hasTimeLeft(head, lane) &&
      // This process had it before, lost it, and is not through with it.
      !lane.flights.has(next.id) &&
      !this.parts.completions.has(next.id)
    );
  }

  /** Confirmations come many at a time: so what follows them leaves many at a time. */
  private sendSoon(lane: Lane, message: ClaimedMessage): void {
    const gathered = this.next.get(lane);
    if (gathered !== undefined) {
      gathered.push(message);
      return;
    }
    const messages = [message];
    this.next.set(lane, messages);
    queueMicrotask(() => {
      this.next.delete(lane);
      const flying = messages.filter((one) => lane.flights.get(one.id)?.sent === one);
      if (flying.length > 0) this.parts.handOver(lane, flying);
    });
  }
}
