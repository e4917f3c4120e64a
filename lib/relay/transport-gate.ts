import { Logger } from '@nestjs/common';
import type { CancelTimer, Clock } from '../core/clock';
import type { OutboxEvents } from '../core/events';
import type { Transport } from '../core/transport.port';
import { type BackOff, backOffMs } from './retry-policy';

/** The longest wait between two probes, as a multiple of the first. */
const PROBE_WAIT_GROWTH_MAX = 30;

export interface TransportGateSettings {
  readonly name: string;
  readonly transport: Transport;
  readonly probeIntervalMs: number;
  /** It opened or closed. */
  readonly onChange: (open: boolean) => void;
}

/**
 * Whether messages may go to a transport: a person may pause it, and a broker that does not answer closes it (a breaker).
 *
 * While it is closed nothing is claimed for it, so an outage costs neither attempts nor queries. One probe at a time asks
 * whether the broker is back. What the transport tells about its connection is a hint: "up" only brings the next probe
 * forward, because a connection that is up can still be blocked. The waits between probes start over only when a message
 * got an answer: a broker that accepts connections and then swallows messages is not hammered with them.
 */
export class TransportGate {
  private readonly logger = new Logger('OutboxRelay');
  private readonly probeBackOff: BackOff;
  private paused = false;
  private down = false;
  private probing = false;
  private hintedUp = false;
  private failures = 0;
  private closed = false;
  private cancelTimer: CancelTimer | null = null;
  private unwatch: () => void = () => undefined;

  constructor(
    private readonly settings: TransportGateSettings,
    private readonly clock: Clock,
    private readonly events: OutboxEvents,
  ) {
    this.probeBackOff = {
      delayMs: settings.probeIntervalMs,
      factor: 2,
      delayMaxMs: settings.probeIntervalMs * PROBE_WAIT_GROWTH_MAX,
      jitter: 0,
    };
  }

  get isOpen(): boolean {
    return !this.paused && !this.down;
  }

  /** Why it is closed; null while it is open. A pause is told first, because only a person ends it. */
  get reason(): 'paused' | 'unreachable' | null {
    if (this.paused) return 'paused';
    return this.down ? 'unreachable' : null;
  }

  /** Begins to follow the transport's hints. Handlers in this process have no connection that could be gone. */
  watch(): void {
    if (!this.hasBreaker) return;
    this.unwatch = this.settings.transport.onStateChange((state, reason) => {
      if (state === 'down') this.unreachable(reason ?? 'the connection is gone');
      else this.connectionIsUp();
    });
  }

  pause(): void {
    this.change(() => (this.paused = true));
  }

  resume(): void {
    this.change(() => (this.paused = false));
  }

  /** Nobody answered. */
  unreachable(reason: string): void {
    if (this.down || this.closed || !this.hasBreaker) return;
    this.logger.warn(`Transport ${this.settings.name} is unreachable; its messages wait: ${reason}`);
    this.change(() => (this.down = true));
    this.events.emit('transport.down', { transport: this.settings.name, reason });
    this.failures += 1;
    this.probeLater();
  }

  /** A message was answered, with a yes or a no. */
  answered(): void {
    if (!this.down) this.failures = 0;
  }

  close(): void {
    this.closed = true;
    this.unwatch();
    this.cancelTimer?.();
  }

  private get hasBreaker(): boolean {
    return this.settings.transport.capabilities.confirms !== 'handlers';
  }

  private connectionIsUp(): void {
    if (!this.down) return;
    this.hintedUp = true;
    void this.probe();
  }

  private probeLater(): void {
    if (this.closed) return;
    this.cancelTimer = this.clock.after(
      backOffMs(this.probeBackOff, this.failures, 0.5),
      () => void this.probe(),
    );
  }

  private async probe(): Promise<void> {
    if (this.probing || this.closed) return;
    this.probing = true;
    this.hintedUp = false;
    this.cancelTimer?.();
    // The port promises that it never rejects; were it wrong, the breaker would stay closed for ever.
    const up = await this.settings.transport.probe().catch(() => false);
    this.probing = false;
    if (this.closed) return;
    if (up) this.isBack();
    else if (this.hintedUp) void this.probe();
    else {
      this.failures += 1;
      this.probeLater();
    }
  }

  private isBack(): void {
    this.logger.log(`Transport ${this.settings.name} is reachable again`);
    this.change(() => (this.down = false));
    this.events.emit('transport.up', { transport: this.settings.name });
  }

  private change(apply: () => void): void {
    const before = this.isOpen;
    apply();
    if (this.isOpen !== before) this.settings.onChange(this.isOpen);
  }
}
