import type { Clock } from '../core/clock';
import type { OutboxStore } from '../core/outbox-store.port';
import type { BackgroundHealth } from './background-health';
import type { HeldMessage } from './held-message';
import { WriteBehind } from './write-behind';

const SIZE_MAX = 500;
const DELAY_MS = 5;

interface GivenBack {
  readonly held: HeldMessage;
  readonly afterMs: number;
}

export interface ReleaseSettings {
  /** More than this are not kept in memory: their leases run out, which gives them back as well, only later. */
  readonly waitingMax: number;
  /** They are out of this process's hands. */
  readonly written: (messages: readonly HeldMessage[]) => void;
}

/** Gives claims back without an attempt, in batches. */
export class ReleaseBatcher {
  private readonly writer: WriteBehind<GivenBack>;
  private waiting = 0;
  private count = 0;

  constructor(
    private readonly settings: ReleaseSettings,
    private readonly store: Pick<OutboxStore, 'release'>,
    clock: Clock,
    health: BackgroundHealth,
  ) {
    this.writer = new WriteBehind<GivenBack>(
      {
        task: 'Giving claims back',
        sizeMax: SIZE_MAX,
        delayMs: DELAY_MS,
        write: (released) => this.write(released),
        worthRetrying: ({ held }) => held.leaseEndsAtMs > clock.monotonicMs(),
        dropped: ({ held }) => this.finished([held]),
      },
      clock,
      health,
    );
  }

  /** How many were given back since the start, and are due or leased no more. */
  get total(): number {
    return this.count;
  }

  /** @param afterMs how long nobody is to claim it. */
  add(held: HeldMessage, afterMs = 0): void {
    this.waiting += 1;
    if (this.waiting > this.settings.waitingMax) this.finished([held]);
    else this.writer.add({ held, afterMs });
  }

  flush(): Promise<void> {
    this.writer.flush();
    return this.writer.whenIdle();
  }

  close(): void {
    this.writer.close();
  }

  private async write(released: readonly GivenBack[]): Promise<void> {
    await this.store.release(
      released.map(({ held, afterMs }) => ({ id: held.message.id, token: held.message.token, afterMs })),
    );
    this.finished(released.map(({ held }) => held));
  }

  private finished(messages: readonly HeldMessage[]): void {
    this.waiting -= messages.length;
    this.count += messages.length;
    this.settings.written(messages);
  }
}
