import type { CancelTimer, Clock } from '../core/clock';
import type { BackgroundHealth } from './background-health';

export interface PeriodicTaskSettings {
  /** For logs. */
  readonly task: string;
  readonly intervalMs: number;
  /** Whether the first run comes at once, or after the first interval. */
  readonly atOnce: boolean;
  /** @param stopping ask between steps: a long run ends early then. */
  readonly run: (stopping: () => boolean) => Promise<void>;
}

/** Runs something again and again, never twice at once: the interval counts from the end of a run. Failures are told, and tried again. */
export class PeriodicTask {
  private current: Promise<void> | null = null;
  private again = false;
  private cancelTimer: CancelTimer | null = null;
  private stopped = true;

  constructor(
    private readonly settings: PeriodicTaskSettings,
    private readonly clock: Clock,
    private readonly health: BackgroundHealth,
  ) {}

  start(): void {
    this.stopped = false;
    if (this.settings.atOnce) this.runNow();
    else this.runLater();
  }

  /** A run that begins after this call, without waiting for the interval. */
  runSoon(): void {
    if (this.stopped) return;
    this.again = this.current !== null;
    if (this.again) return;
    this.cancelTimer?.();
    this.runNow();
  }

  /** Resolves when the run on its way has ended. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.cancelTimer?.();
    await this.current;
  }

  private runLater(): void {
    this.cancelTimer = this.clock.after(this.settings.intervalMs, () => this.runNow());
  }

  private runNow(): void {
    this.again = false;
    this.current = this.run().finally(() => {
      this.current = null;
      if (this.stopped) return;
      if (this.again) this.runNow();
      else this.runLater();
    });
  }

  private async run(): Promise<void> {
    try {
      await this.settings.run(() => this.stopped);
    } catch (error) {
      this.health.failed(this.settings.task, error);
      return;
    }
    this.health.worked(this.settings.task);
  }
}
