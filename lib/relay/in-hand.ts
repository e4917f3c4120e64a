import type { HeldMessage, Run } from './held-message';

interface Waiter {
  readonly missing: Set<HeldMessage>;
  readonly resolve: () => void;
}

/**
 * All messages in this process's hands, so that `flush()` and the shutdown can wait for them. Those of a run are here as
 * long as its head is.
 */
export class InHand {
  private readonly held = new Set<HeldMessage>();
  private readonly waiters = new Set<Waiter>();
  private readAhead = 0;
  private heads = 0;

  get size(): number {
    return this.held.size + this.readAhead;
  }

  /** How many were read ahead. */
  get ahead(): number {
    return this.readAhead;
  }

  /** How many heads of runs there are. */
  get runs(): number {
    return this.heads;
  }

  add(message: HeldMessage): void {
    this.held.add(message);
    this.countRun(message, 1);
  }

  /** So many more are read ahead in its run; less than none: so many are through. */
  countAhead(run: Run, change: number): void {
    if (this.held.has(run.head)) this.readAhead += change;
  }

  /** It is written down, or given up, or given back. Twice is the same as once. */
  done(message: HeldMessage): void {
    if (!this.held.delete(message)) return;
    this.countRun(message, -1);
    for (const waiter of this.waiters) {
      if (waiter.missing.delete(message) && waiter.missing.size === 0) this.release(waiter);
    }
  }

  /** Those in hand at this moment, for which the condition holds. */
  snapshot(condition: (message: HeldMessage) => boolean = () => true): Set<HeldMessage> {
    const found = new Set<HeldMessage>();
    for (const message of this.held) if (condition(message)) found.add(message);
    return found;
  }

  /** Resolves when none of these is in hand any more. Takes the set for itself. */
  whenDone(messages: Set<HeldMessage>): Promise<void> {
    for (const message of messages) if (!this.held.has(message)) messages.delete(message);
    if (messages.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.waiters.add({ missing: messages, resolve }));
  }

  /** Resolves when nothing at all is in hand: new ones that come meanwhile are waited for, too. */
  async whenEmpty(): Promise<void> {
    while (this.held.size > 0) await this.whenDone(this.snapshot());
  }

  private countRun({ run }: HeldMessage, sign: 1 | -1): void {
    if (run === null) return;
    this.heads += sign;
    this.readAhead += sign * run.followers.length;
  }

  private release(waiter: Waiter): void {
    this.waiters.delete(waiter);
    waiter.resolve();
  }
}
