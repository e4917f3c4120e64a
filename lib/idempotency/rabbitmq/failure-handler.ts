import { Logger } from '@nestjs/common';
import type { Channel, ConsumeMessage } from 'amqplib';

import type { Alarm } from '../../core/alarm.port';
import type { Clock } from '../../core/clock';
import { describeError } from '../../core/errors';
import type { OutboxEvents } from '../../core/events';
import type { HandlingOutcome, IdempotencyRuntime } from '../idempotency-runtime';
import { pause } from '../pause';
import { AmqpDelivery } from './amqp-delivery';
import { copyOptions, tallyOf } from './failed-copy';
import { decide, type FailureLimits, type Tally, type Verdict } from './failure-policy';
import type { FailurePublisher } from './failure-publisher';
import type { FailureQueues } from './failure-queues';
import type { HandlerRerun } from './handler-rerun';
import type { Subscription } from './subscriptions';

/** Where a handler's failed messages go, on one connection. */
export interface FailureRoute {
  readonly subscription: Subscription;
  /** The consumer's queue; null where it is not known, and a message cannot return to it. */
  readonly queue: string | null;
  readonly queues: FailureQueues;
  readonly publisher: FailurePublisher;
}

export interface FailureDependencies {
  readonly runtime: IdempotencyRuntime;
  readonly events: OutboxEvents;
  readonly alarm: Pick<Alarm, 'ring'>;
  readonly clock: Clock;
  readonly limits: FailureLimits;
  /** Given when the application shuts down. */
  readonly stop: AbortSignal;
}

/** So long one delivery is held at most, where there is another way: well below RabbitMQ's limit of 30 minutes. */
const HOLD_MAX_MS = 300_000;
/** So long the acknowledgement waits for the alarm's callback: less than handlers have at shutdown. */
const ALARM_WAIT_MS = 5_000;
const PUBLISH_PAUSE_MS = 1_000;
const PUBLISH_PAUSE_MAX_MS = 30_000;

/**
 * What golevelup calls when a handler did not take its messages: unreadable, refused by a guard or a pipe, or failed.
 *
 * The original is acknowledged only when the broker has confirmed the copy, and the alarm of a dead letter has been heard,
 * so at every crash point there is one of them, or both:
 * - died before the copy, or the copy unconfirmed: the original is delivered again.
 * - died between the copy and the acknowledgement: both are there; the inbox lets one take effect, and a dead letter
 *   fails and rings once more.
 * - the channel is closed: the broker delivers the original again; nothing is to be done here.
 * At shutdown what waits here is left unanswered: the channel's closing gives it back.
 */
export class FailureHandler {
  private readonly logger = new Logger('Idempotent');
  private readonly running = new Set<Promise<void>>();

  constructor(
    private readonly consumer: string,
    readonly ordered: boolean,
    private readonly routeOf: (channel: Channel) => FailureRoute | null,
    private readonly rerun: HandlerRerun,
    private readonly dependencies: FailureDependencies,
  ) {}

  /** For golevelup's `errorHandler`. Never rejects: golevelup would leave the rejection unhandled. */
  readonly onMessageFailure = (channel: Channel, message: ConsumeMessage, error: unknown): Promise<void> =>
    this.track(this.take(channel, [message], error, false));

  /** For golevelup's `batchOptions.errorHandler`. Never rejects. */
  readonly onBatchFailure = (channel: Channel, messages: ConsumeMessage[], error: unknown): Promise<void> =>
    this.track(this.take(channel, messages, error, true));

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await Promise.all(this.running);
  }

  private track(work: Promise<void>): Promise<void> {
    this.running.add(work);
    void work.finally(() => this.running.delete(work));
    return work;
  }

  private async take(
    channel: Channel,
    messages: ConsumeMessage[],
    error: unknown,
    isWholeBatch: boolean,
  ): Promise<void> {
    const { runtime, stop, clock } = this.dependencies;
    const waiting: AmqpDelivery[] = [];
    for (const message of messages) {
      const delivery = new AmqpDelivery(channel, message);
      // Something after the commit failed: an acknowledgement on a lost channel, or an interceptor around ours.
      if (runtime.outcomeOf(message)?.kind === 'handled') delivery.ack();
      else waiting.push(delivery);
    }
    const route = this.routeOf(channel);
    if (route === null || stop.aborted) return;
    const isBatch = route.subscription.config.batchOptions !== undefined;
    const isOneOfMany = isBatch && !(isWholeBatch && messages.length === 1);
    const holdUntilMs = clock.monotonicMs() + HOLD_MAX_MS;
    for (const delivery of waiting) {
      const known =
        runtime.outcomeOf(delivery.message) ?? (isOneOfMany ? null : { kind: 'failed' as const, error });
      await this.settleSafely(route, delivery, known, holdUntilMs);
    }
  }

  private async settleSafely(
    route: FailureRoute,
    delivery: AmqpDelivery,
    known: HandlingOutcome | null,
    holdUntilMs: number,
  ): Promise<void> {
    try {
      await this.settle(route, delivery, known, holdUntilMs);
    } catch (error) {
      this.logger.error(
        `${this.nameOf(delivery.message)} was not put away, it comes again: ${describeError(error)}`,
      );
      if (await pause(this.dependencies.clock, PUBLISH_PAUSE_MAX_MS, this.dependencies.stop))
        delivery.requeue();
    }
  }

  private async settle(
    route: FailureRoute,
    delivery: AmqpDelivery,
    known: HandlingOutcome | null,
    holdUntilMs: number,
  ): Promise<void> {
    const { runtime, clock, limits, stop } = this.dependencies;
    const { message } = delivery;
    let tally = tallyOf(message);
    // Of a batch that failed, each message on its own: so only the culprits are tried again.
    let outcome = known ?? (await this.rerun.run(route.subscription, message));
    for (let holds = 0; outcome.kind === 'failed'; holds += 1) {
      if (delivery.isOver) return;
      const verdict = decide(
        {
          nature: await runtime.diagnosis.natureOf(outcome.error, this.consumer),
          tally,
          canDelay: route.queue !== null && !this.ordered,
          holds,
          heldLongEnough: clock.monotonicMs() >= holdUntilMs,
        },
        limits,
      );
      if (verdict.kind !== 'hold') {
        if (await this.putAway(route, delivery, verdict, outcome.error, holdUntilMs)) delivery.ack();
        return;
      }
      tally = verdict.tally;
      this.tellRetry(message, verdict.delayMs, tally, outcome.error);
      if (!(await pause(clock, verdict.delayMs, stop)) || delivery.isOver) return;
      outcome = await this.rerun.run(route.subscription, message);
    }
    delivery.ack();
  }

  /** @returns whether the copy is confirmed; if not, the original is answered or left as it must be. */
  private async putAway(
    { publisher, queues, queue }: FailureRoute,
    delivery: AmqpDelivery,
    verdict: Exclude<Verdict, { kind: 'hold' }>,
    error: unknown,
    holdUntilMs: number,
  ): Promise<boolean> {
    const { clock, stop } = this.dependencies;
    const { message } = delivery;
    const diedAtMs = verdict.kind === 'deadLetter' ? clock.wallMs() : null;
    const options = copyOptions(message, {
      error,
      tally: verdict.tally,
      consumer: this.consumer,
      queue,
      diedAtMs,
    });
    const target = verdict.kind === 'deadLetter' ? queues.dead : (queues.retry(verdict.delayMs) as string);
    for (let tries = 0; !delivery.isOver; tries += 1) {
      try {
        await publisher.publish(queues, target, message.content, options);
        if (verdict.kind === 'delay') this.tellRetry(message, verdict.delayMs, verdict.tally, error);
        else await this.tellDeadLetter(message, target, verdict.tally, error, holdUntilMs);
        return true;
      } catch (failure) {
        const pauseMs = Math.min(PUBLISH_PAUSE_MS * 2 ** tries, PUBLISH_PAUSE_MAX_MS);
        this.logger.error(
          `${this.nameOf(message)} failed and is not in ${target} yet, next try in ${pauseMs} ms: ${describeError(failure)}`,
        );
        if (!(await pause(clock, pauseMs, stop))) return false;
        if (clock.monotonicMs() >= holdUntilMs) {
          delivery.requeue();
          return false;
        }
      }
    }
    return false;
  }

  private tellRetry(
    message: ConsumeMessage,
    retryInMs: number,
    { attempts, waits }: Tally,
    error: unknown,
  ): void {
    const { events, runtime, limits } = this.dependencies;
    const reason = describeError(error);
    this.logger.warn(
      `${this.nameOf(message)} was not handled and is tried again in ${retryInMs} ms ` +
        `(failures: ${attempts} of ${limits.attemptsMax}, waits: ${waits}): ${reason}`,
    );
    events.emit('inbox.retry', {
      consumer: this.consumer,
      messageKey: runtime.keyOf(message),
      attempts,
      retryInMs,
      error: reason,
    });
  }

  private async tellDeadLetter(
    message: ConsumeMessage,
    queue: string,
    { attempts }: Tally,
    error: unknown,
    holdUntilMs: number,
  ): Promise<void> {
    const { alarm, clock, events, runtime } = this.dependencies;
    const reason = describeError(error);
    this.logger.error(
      `${this.nameOf(message)} is given up after ${attempts} failures and kept in ${queue}: ${reason}`,
    );
    const event = {
      consumer: this.consumer,
      messageKey: runtime.keyOf(message),
      attempts,
      error: reason,
    };
    events.emit('inbox.deadLetter', event);
    // The dead letters of a batch wait one after another, and all of them together no longer than a message is held.
    await alarm.ring(event, Math.max(0, Math.min(ALARM_WAIT_MS, holdUntilMs - clock.monotonicMs())));
  }

  private nameOf({ properties }: ConsumeMessage): string {
    return `${this.consumer}: message ${properties.messageId ?? 'without id'} (${properties.type ?? 'no type'})`;
  }
}
