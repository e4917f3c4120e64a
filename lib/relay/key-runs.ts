import type { Clock } from '../core/clock';
import type { ClaimedMessage } from '../core/message';
import type { ReadAhead } from '../core/outbox-store.port';
import type { CompletionBatcher, RunReader } from './completion-batcher';
import { byKey } from './by-key';
import { type HeldMessage, type Run, isFollower } from './held-message';
import type { InHand } from './in-hand';
import type { Lane } from './lane';
import type { SendWindow } from './send-window';

/*
 * Runs: messages of one key that leave one after the other without a look at the database in between.
 *
 * The statement that promotes and claims a key's next message, the head, also reads some of those behind it, and changes
 * nothing about them: in the table they stay `blocked`. Each is sent when the broker has confirmed the one before it. When
 * the run is over, one statement makes what is left of it `sent`, and promotes, claims and reads the next ones.
 *
 * While a run goes on, what is confirmed behind its head is written down leg by leg, and more is read in the same statement:
 * or the key would stand still while that statement waits and runs, which is a fifth of the time where there is much to do.
 *
 * Why nobody else sends them meanwhile: only a key's `pending` message is ever claimed, and that is our head, for as long
 * as its lease lasts. It is confirmed first and written down last, in the same statement or in a later one than those
 * behind it; and none of these is sent with too little left of that lease. So a run is what one long sending of the head
 * would be.
 *
 * Why first copies stay in order, even where that fence is broken (a process that stood still for longer than its lease):
 * whoever sends a message has had the confirmation of the one before it, or found that one written down. What was read
 * has no gaps, and what is read later begins right behind what was read before; so each sender keeps to the order of the
 * key, from a beginning that is no further than what is confirmed. Of several senders that all do so, the first copies come
 * in order, whoever is ahead. What it costs are duplicates.
 *
 * When this process dies, the head is due again once its lease is over, and whoever takes it sends it again, and then those
 * behind it that are not written down: at most what is sent of one key in RUN_MS_MAX, and LENGTH_MAX messages. A head that
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
 * A run has one place among those in flight, whatever its length. Where others wait for one, it is over after RUN_MS_MAX;
 * else after LASTS_MS_MAX, because its head is seen as unsent as long as it lasts. Transports that confirm when handlers
 * have finished have no runs: their leases are renewed message by message, and the time that runs save is nothing beside a
 * handler's.
 */

/** What is confirmed is written down within this time, or the run ends. It bounds what is sent twice after a crash. */
const RUN_MS_MAX = 250;
const LENGTH_MAX = 250;
/** A leg is half of that, so that its statement may take as long again. */
const LEG_MS = RUN_MS_MAX / 2;
const LEG_LENGTH = LENGTH_MAX / 2;
/** No run lasts longer. */
const LASTS_MS_MAX = 2_000;
/** With so many in flight, confirmations come several at a time. */
const COMPANY_MIN = 4;
/** So many are read at first; then twice as many as the key had time for. Who has fewer, has no more. */
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

export class KeyRuns implements RunReader {
  private readonly next = new Map<Lane, ClaimedMessage[]>();
  private readonly refusals = new Map<string, Refusal>();
  /** Those for which the statement reads that is under way; one of a key. */
  private readonly reading = new Map<bigint | null, Run>();

  constructor(private readonly parts: KeyRunsParts) {}

  /** Whether this one ends a leg, behind which more is to be read. */
  readsOn({ message, run }: HeldMessage): boolean {
    return run?.leg?.lastId === message.id && run.leg.readsBehind !== null && !run.isOver;
  }

  /**
   * How much to read when these are written down: behind what is promoted along in their keys, and behind what runs have
   * that go on.
   */
  readAhead(completed: readonly HeldMessage[]): ReadAhead {
    const { inHand, aheadMax, lanes } = this.parts;
    this.reading.clear();
    let keys = 0;
    let wanted = LENGTH_FIRST;
    let released = 0;
    for (const held of completed) {
      const { message, run } = held;
      if (run !== null && isFollower(held)) {
        this.reading.set(message.keyHash, run);
        wanted = Math.max(wanted, run.wanted - unsentOf(run));
      } else {
        if (lanes.get(message.transport)?.renewsLeases !== false) continue;
        released += run?.followers.length ?? 0;
        wanted = Math.max(wanted, run?.wanted ?? 0);
      }
      keys += 1;
    }
    if (keys === 0) return { count: 0, bytes: 0 };
    const share = aheadMax / Math.max(keys, inHand.runs);
    const room = (aheadMax - inHand.ahead + released) / keys;
    const count = Math.max(0, Math.floor(Math.min(wanted, LENGTH_MAX, share, room)));
    return {
      count,
      bytes: BYTES_MAX,
      behind: [...this.reading.values()].map(({ leg }) => leg!.readsBehind!),
    };
  }

  /** What was read behind those that go on. */
  goFurther(further: readonly ClaimedMessage[]): void {
    const found = byKey(further);
    for (const [keyHash, run] of this.reading) {
      const more = found.get(keyHash) ?? [];
      run.hasMore = more.length > 0;
      if (run.isOver) continue;
      run.followers.push(...more);
      this.parts.inHand.countAhead(run, more.length);
    }
    this.reading.clear();
  }

  /** One is confirmed. @returns whether its run goes on: then the next one has its place in flight. */
  goOn(lane: Lane, held: HeldMessage): boolean {
    const { run } = held;
    if (run === null) return false;
    const now = this.parts.clock.monotonicMs();
    if (held === run.head) begin(run, now);
    else run.confirmed.push(held);
    this.parts.completions.confirmed(held);
    const next = run.followers[run.confirmed.length];
    if (next === undefined || now >= run.endsAtMs || !this.maySend(lane, run, next)) return false;
    const { via, leaseEndsAtMs } = run.head;
    lane.flights.set(next.id, {
      held: { message: next, via, chained: false, leaseEndsAtMs, run },
      sent: next,
    });
    if (run.leg === null && run.hasMore) this.endLeg(lane, run, now);
    if (this.parts.window.flying < COMPANY_MIN) this.parts.handOver(lane, [next]);
    else this.sendSoon(lane, next);
    return true;
  }

  /** Nothing more of it is sent: what is confirmed is written down, the head last. */
  end(run: Run): void {
    const { head, confirmed } = run;
    run.isOver = true;
    run.wanted = Math.max(run.wanted, 2 * (confirmed.length + 1));
    this.parts.window.unwritten += confirmed.length + 1;
    for (const held of confirmed) this.parts.completions.add(held, false);
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

  /** One of a run is written down. */
  written(held: HeldMessage): void {
    const { run } = held;
    if (run === null) return;
    // A refusal whose message was not promoted for us is told at its next sending.
    if (held === run.head && run.refusedId !== null) this.refusals.delete(run.refusedId);
    if (held.message.id !== run.leg?.lastId) return;
    run.endsAtMs = Math.min(run.leg.endedAtMs + RUN_MS_MAX, run.endsAtLatestMs);
    run.leg = null;
  }

  /** Has what is confirmed behind the head written down, when it is time, and the run may last for longer than this. */
  private endLeg(lane: Lane, run: Run, now: number): void {
    const { confirmed, followers } = run;
    const { length } = confirmed;
    // The next one is on its way.
    const unsent = unsentOf(run) - 1;
    const isLong = now >= run.legEndsAtMs || length >= LEG_LENGTH;
    if (length === 0 || (!isLong && length < unsent)) return;
    if (now + RUN_MS_MAX > run.endsAtLatestMs || this.parts.window.fastPathRoom(lane) === 0) return;
    // Two legs' worth. One that ended for want of messages tells only that there should be more.
    run.wanted = Math.max(run.wanted, (isLong ? 2 : 4) * length);
    run.leg = {
      lastId: confirmed[length - 1]!.message.id,
      endedAtMs: now,
      readsBehind: unsent > run.wanted / 2 ? null : followers.at(-1)!.id,
    };
    run.legEndsAtMs = now + LEG_MS;
    run.confirmed = [];
    followers.splice(0, length);
    this.parts.inHand.countAhead(run, -length);
    this.parts.window.unwritten += length;
    for (const held of confirmed) this.parts.completions.add(held, false);
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

function begin(run: Run, now: number): void {
  run.endsAtMs = now + RUN_MS_MAX;
  run.endsAtLatestMs = now + LASTS_MS_MAX;
  run.legEndsAtMs = now + LEG_MS;
  run.hasMore = run.followers.length >= LENGTH_FIRST;
}

function unsentOf({ followers, confirmed }: Run): number {
  return followers.length - confirmed.length;
}
