import { createRequire } from 'node:module';
import { Logger } from '@nestjs/common';
import type { SchedulerRegistry } from '@nestjs/schedule';
import { OutboxConfigurationError } from '../core/errors';

/** What beats the time for the resend job. */
export interface ResendSchedule {
  /** Whether beats may be left out while nothing is due. Not those that a person set by the clock. */
  readonly mayIdle: boolean;
  start(beat: () => void): void;
  /** No beat comes after it. May be called twice, and without a start. */
  stop(): void;
}

/** As much of the package `cron` as is used here. */
interface CronPackage {
  readonly CronJob: new (expression: string, onTick: () => void) => { start(): void };
}

type CronJob = Parameters<SchedulerRegistry['addCronJob']>[1];

export interface ResendScheduleSettings {
  /** The job's name in the registry; another one for each data source. */
  readonly name: string;
  readonly intervalMs: number;
  /** Instead of the interval. */
  readonly cron: string | undefined;
}

/**
 * Beats by `@nestjs/schedule`, so that the job stands in the application's SchedulerRegistry among its others, where it can
 * be listed. A process that only sends is kept alive by it.
 */
export class RegistrySchedule implements ResendSchedule {
  readonly mayIdle: boolean;
  private readonly logger = new Logger('OutboxRelay');

  constructor(
    private readonly registry: SchedulerRegistry,
    private readonly settings: ResendScheduleSettings,
  ) {
    this.mayIdle = settings.cron === undefined;
  }

  start(beat: () => void): void {
    const { name, intervalMs, cron } = this.settings;
    if (cron === undefined) {
      this.registry.addInterval(name, setInterval(beat, intervalMs));
      return;
    }
    const job = this.cronJob(cron, beat);
    this.registry.addCronJob(name, job as unknown as CronJob);
    job.start();
    this.logger.log(`Due messages are looked for by cron: ${cron}`);
  }

  stop(): void {
    const { name } = this.settings;
    if (this.registry.doesExist('interval', name)) this.registry.deleteInterval(name);
    if (this.registry.doesExist('cron', name)) this.registry.deleteCronJob(name);
  }

  private cronJob(expression: string, beat: () => void): { start(): void } {
    // The very `cron` that @nestjs/schedule brings along: it is that registry's own class, and no dependency of ours.
    const schedule = createRequire(__filename).resolve('@nestjs/schedule');
    const { CronJob } = createRequire(schedule)('cron') as CronPackage;
    try {
      return new CronJob(expression, beat);
    } catch (error) {
      throw new OutboxConfigurationError(
        'relay.cron',
        `'${expression}' is no cron expression. Six fields, e.g. '*/5 * * * * *'.`,
        {
          cause: error,
        },
      );
    }
  }
}
