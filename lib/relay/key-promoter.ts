import type { CancelTimer, Clock } from '../core/clock';
import type { ClaimedMessage } from '../core/message';
import type { ClaimTerms, OutboxStore } from '../core/outbox-store.port';
import type { BackgroundHealth } from './background-health';
import type { HeldMessage } from './held-message';
import type { InHand } from './in-hand';
import { type BackOff, backOffMs } from './retry-policy';

const TASK = 'Promoting the next messages of their keys';
const KEYS_PER_STATEMENT = 500;
const BACK_OFF: BackOff = { delayMs: 100, factor: 2, delayMaxMs: 5_000, jitter: 0 };

export interface KeyPromoterParts {
  readonly store: Pick<OutboxStore, 'promote'>;
  readonly inHand: InHand;
  readonly clock: Clock;
  readonly health: BackgroundHealth;
  /** Keys that may wait here; what does not fit is the sweeper's. */
  readonly waitingMax: number;
  /** How long keys gather whose promoted messages another process sends: as long as the wish to wake that one would. */
  readonly gatherMs: number;
  /** Whether this process would send a promoted message of that transport at once. */
  readonly sendsNow: (transport: string) => boolean;
  readonly terms: () => ClaimTerms;
  /** This one is promoted, and this process holds it. @param chained the one before it was sent from here */
  readonly hand: (message: ClaimedMessage, chained: boolean) => void;
  /** Some were promoted, and nobody holds them. */
  readonly bornDue: () => void;
}

interface Wish {
  readonly transport: string;
  /** The completed messages on whose behalf the key's next one is looked for. They stay in hand until then. */
  readonly after: HeldMessage[];
  /** Called when it is seen to. */
  readonly heard: (() => void)[];
}

/**
 * Looks for a key's next message when the one before it is through, and sends it at once.
 *
 * Both ends ask: whoever completes a message, and whoever commits a message that was born blocked, because its
 * predecessor may have been completed between its INSERT and its COMMIT, when that one's look could not see it. What a
 * crash leaves in between is the sweeper's. One statement at a time, for all keys that gathered meanwhile.
 *
 * A process that only publishes hardly ever finds anything: its messages wait behind one that is being sent elsewhere. On a
 * hot key it would look after every commit, at the cost of the commit itself. So there the keys gather for a while.
 */
export class KeyPromoter {
  private wishes = new Map<bigint, Wish>();
  /** Those that the statement on its way is about. */
  private current = new Map<bigint, Wish>();
  private scheduled = false;
  private running = false;
  private failures = 0;
  private cancelTimer: CancelTimer | null = null;
  private cancelGathering: CancelTimer | null = null;
  private closed = false;

  constructor(private readonly parts: KeyPromoterParts) {}

  /** @param completed the message that was the head of the key until now. */
  wish(keyHash: bigint, transport: string, completed: HeldMessage | null): void {
    let wish = this.wishes.get(keyHash);
    if (wish === undefined) {
      if (this.closed || this.wishes.size >= this.parts.waitingMax) {
        if (completed !== null) this.parts.inHand.done(completed);
        return;
      }
      wish = { transport, after: [], heard: [] };
      this.wishes.set(keyHash, wish);
    }
    if (completed !== null) wish.after.push(completed);
    if (completed !== null || this.parts.sendsNow(transport)) this.schedule();
    else this.cancelGathering ??= this.parts.clock.after(this.parts.gatherMs, () => this.schedule());
  }

  /** Resolves when every wish made so far was seen to. */
  async whenSeenTo(): Promise<void> {
    const wishes = [...this.wishes.values(), ...this.current.values()];
    if (this.cancelGathering !== null) this.schedule();
    await Promise.all(wishes.map((wish) => new Promise<void>((resolve) => wish.heard.push(resolve))));
  }

  close(): void {
    this.closed = true;
    this.cancelTimer?.();
    this.cancelGathering?.();
  }

  /** On the next turn of the event loop, so that the keys of one batch share a statement. */
  private schedule(): void {
    this.cancelGathering?.();
    this.cancelGathering = null;
    if (this.scheduled || this.running || this.cancelTimer !== null) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      void this.run();
    });
  }

  private async run(): Promise<void> {
    if (this.running || this.wishes.size === 0) return;
    this.running = true;
    this.current = this.wishes;
    this.wishes = new Map();
    try {
      await this.promoteAll();
      this.failures = 0;
      this.parts.health.worked(TASK);
    } catch (error) {
      this.parts.health.failed(TASK, error);
      this.tryLater();
    }
    this.running = false;
    if (this.wishes.size > 0 && this.cancelGathering === null) this.schedule();
  }

  private async promoteAll(): Promise<void> {
    const here: bigint[] = [];
    const elsewhere: bigint[] = [];
    for (const [keyHash, { transport }] of this.current) {
      (this.parts.sendsNow(transport) ? here : elsewhere).push(keyHash);
    }
    await this.promote(here, true);
    await this.promote(elsewhere, false);
  }

  private async promote(keyHashes: readonly bigint[], claim: boolean): Promise<void> {
    for (let from = 0; from < keyHashes.length; from += KEYS_PER_STATEMENT) {
      const some = keyHashes.slice(from, from + KEYS_PER_STATEMENT);
      const { promoted, claimed } = await this.parts.store.promote(some, claim ? this.parts.terms() : null);
      // Into the hand before the predecessor is out of it: whoever waits for a key's messages can follow them.
      for (const message of claimed) this.parts.hand(message, this.hasCompleted(message.keyHash));
      if (promoted > claimed.length) this.parts.bornDue();
      for (const keyHash of some) {
        const wish = this.current.get(keyHash);
        this.current.delete(keyHash);
        wish?.after.forEach((completed) => this.parts.inHand.done(completed));
        wish?.heard.forEach((heard) => heard());
      }
    }
  }

  private hasCompleted(keyHash: bigint | null): boolean {
    return keyHash !== null && (this.current.get(keyHash)?.after.length ?? 0) > 0;
  }

  /** What has not been promoted joins what was wished for meanwhile. */
  private tryLater(): void {
    for (const [keyHash, wish] of this.current) {
      const newer = this.wishes.get(keyHash);
      if (newer === undefined) this.wishes.set(keyHash, wish);
      else {
        newer.after.push(...wish.after);
        newer.heard.push(...wish.heard);
      }
    }
    this.current = new Map();
    if (this.closed) return;
    this.failures += 1;
    this.cancelTimer = this.parts.clock.after(backOffMs(BACK_OFF, this.failures, 0.5), () => {
      this.cancelTimer = null;
      void this.run();
    });
  }
}
