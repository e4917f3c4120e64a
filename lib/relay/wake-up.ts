import type { CancelTimer, Clock } from '../core/clock';
import type { OutboxStore } from '../core/outbox-store.port';
import type { BackgroundHealth } from './background-health';
import { type BackOff, backOffMs } from './retry-policy';

const LISTEN_BACK_OFF: BackOff = { delayMs: 1_000, factor: 2, delayMaxMs: 30_000, jitter: 0 };

export interface WakeUpSettings {
  readonly notifyDelayMs: number;
  /** Whether this process wants to be woken. */
  readonly listen: boolean;
}

/**
 * Wakes relays in other processes, and is woken by them, where the server can do that. Only a hint: what it loses, polling
 * finds. Never inside a transaction, and at most one in so many milliseconds, whatever is committed.
 */
export class WakeUp {
  private cancelNotify: CancelTimer | null = null;
  private cancelListen: CancelTimer | null = null;
  private lastNotifyMs = Number.NEGATIVE_INFINITY;
  private stopListening: (() => Promise<void>) | null = null;
  private listening: Promise<void> = Promise.resolve();
  private sending: Promise<void> = Promise.resolve();
  private listenFailures = 0;
  private closed = false;

  constructor(
    private readonly settings: WakeUpSettings,
    private readonly store: Pick<OutboxStore, 'canNotify' | 'notify' | 'listen'>,
    private readonly clock: Clock,
    private readonly health: BackgroundHealth,
  ) {}

  /** Rows are due, and this process does not send them. */
  notify(): void {
    if (!this.store.canNotify || this.cancelNotify !== null || this.closed) return;
    const waitMs = this.settings.notifyDelayMs - (this.clock.monotonicMs() - this.lastNotifyMs);
    // Even the first one waits for a timer: this is called from a commit, which must not do a query's work.
    this.cancelNotify = this.clock.after(Math.max(0, waitMs), () => this.send());
  }

  /** Begins to listen, and keeps trying when the database is away. */
  listen(onNotify: () => void): void {
    if (!this.settings.listen || !this.store.canNotify || this.closed) return;
    this.listening = this.tryListen(onNotify);
  }

  /** Resolves when nothing comes any more; a notification that is due, or on its way, still goes out. */
  async close(): Promise<void> {
    this.closed = true;
    this.cancelListen?.();
    if (this.cancelNotify !== null) {
      this.cancelNotify();
      this.send();
    }
    await this.sending;
    await this.listening;
    await this.stopListening?.();
    this.stopListening = null;
  }

  private send(): void {
    this.cancelNotify = null;
    this.lastNotifyMs = this.clock.monotonicMs();
    const before = this.sending;
    this.sending = this.sendOne().then(() => before);
  }

  private async sendOne(): Promise<void> {
    try {
      await this.store.notify();
      this.health.worked('Waking other relays');
    } catch (error) {
      this.health.failed('Waking other relays', error);
    }
  }

  private async tryListen(onNotify: () => void): Promise<void> {
    try {
      this.stopListening = await this.store.listen(onNotify);
      this.health.worked('Listening for other processes');
    } catch (error) {
      this.health.failed('Listening for other processes', error);
      if (this.closed) return;
      this.listenFailures += 1;
      const waitMs = backOffMs(LISTEN_BACK_OFF, this.listenFailures, 0.5);
      this.cancelListen = this.clock.after(waitMs, () => this.listen(onNotify));
    }
  }
}
