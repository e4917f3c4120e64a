import type { Logger } from '@nestjs/common';
import { describeError } from '../../core/errors';
import type { ApplicationSettings } from './application-settings';
import type { ConsumerResult, Delivery } from './delivery';
import { verdictOnError, verdictOnResponse } from './handler-verdict';
import type { Subscription } from './subscriptions';

/** Runs handlers, and none any more once it is closed. Knows which are running. */
export class Runner {
  private readonly running = new Set<Promise<unknown>>();
  private closed = false;

  constructor(
    readonly settings: ApplicationSettings,
    private readonly logger: Logger,
  ) {}

  /** @returns the verdict; never rejects. */
  async run(
    subscription: Subscription,
    deliveries: readonly Delivery[],
    payload: unknown,
    raw: unknown,
    headers: unknown,
  ): Promise<ConsumerResult> {
    if (this.closed) return { kind: 'skipped' };
    const work = (async () => subscription.run(payload, raw, headers))();
    this.running.add(work);
    try {
      return verdictOnResponse(subscription.name, await work);
    } catch (error) {
      const messages = deliveries.map(({ message }) => `${message.id} (${message.type})`).join(', ');
      // Nest has logged the stack, and the relay tells what becomes of each message.
      this.logger.debug(`${subscription.name} failed on ${messages}: ${describeError(error)}`);
      return verdictOnError(this.settings.peer, subscription, error);
    } finally {
      this.running.delete(work);
    }
  }

  close(): void {
    this.closed = true;
  }

  /** Resolves when all that run now have ended, well or badly. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.running);
  }
}
