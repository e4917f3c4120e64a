import type { ChannelModel, Options } from 'amqplib';

import { FailureQueueError, OutboxConfigurationError } from '../../core/errors';

/** RabbitMQ's limit of a name. */
const NAME_SIZE_MAX_BYTES = 255;

/**
 * The queues beside a consumer's: `<queue>.retry.<delayMs>` for each delay, from which a message returns by itself when its
 * time there is over, and `<queue>.dead`. The delay stands in the name, because a queue's time cannot be changed.
 * Where the broker names the consumer's queue, a message cannot return to it: then there is `<consumer>.dead` alone.
 */
export class FailureQueues {
  readonly dead: string;
  private readonly arguments: Readonly<Record<string, unknown>>;

  constructor(
    /** The consumer's queue, or null where the broker names it. */
    private readonly queue: string | null,
    consumer: string,
    private readonly delaysMs: readonly number[],
    /** The consumer's queue is a quorum queue; then so are these. */
    private readonly quorum: boolean,
  ) {
    this.dead = `${queue ?? consumer}.dead`;
    this.arguments = quorum ? { 'x-queue-type': 'quorum' } : {};
    for (const { name } of this.all()) refuseLongName(name);
  }

  /** Where a message waits so long; null where it cannot return from there. */
  retry(delayMs: number): string | null {
    return this.queue === null ? null : `${this.queue}.retry.${wholeMs(delayMs)}`;
  }

  /**
   * Declares all of them, on a channel of its own: a refusal closes the channel that it happens on.
   * @throws FailureQueueError that names the queue and the remedy.
   */
  async declare(connection: ChannelModel): Promise<void> {
    const channel = await connection.createChannel();
    // The refusal is reported by the call that was refused.
    channel.on('error', () => undefined);
    for (const { name, options } of this.all()) {
      try {
        await channel.assertQueue(name, options);
      } catch (cause) {
        throw new FailureQueueError(name, refusal(cause), { cause });
      }
    }
    await channel.close();
  }

  private all(): { name: string; options: Options.AssertQueue }[] {
    const dead = { name: this.dead, options: { durable: true, arguments: this.arguments } };
    if (this.queue === null) return [dead];
    const { queue } = this;
    return [
      dead,
      ...[...new Set(this.delaysMs.map(wholeMs))].map((delayMs) => ({
        name: `${queue}.retry.${delayMs}`,
        options: {
          durable: true,
          arguments: { ...this.arguments, ...returning(queue, delayMs, this.quorum) },
        },
      })),
    ];
  }
}

function returning(queue: string, delayMs: number, quorum: boolean): Record<string, unknown> {
  return {
    'x-message-ttl': delayMs,
    'x-dead-letter-exchange': '',
    'x-dead-letter-routing-key': queue,
    // A quorum queue hands a message over with a confirmation only when it is told to, and may refuse new ones.
    ...(quorum ? { 'x-dead-letter-strategy': 'at-least-once', 'x-overflow': 'reject-publish' } : {}),
  };
}

function wholeMs(delayMs: number): number {
  return Math.ceil(delayMs);
}

function refuseLongName(name: string): void {
  const sizeBytes = Buffer.byteLength(name);
  if (sizeBytes <= NAME_SIZE_MAX_BYTES) return;
  throw new OutboxConfigurationError(
    '@Idempotent',
    `the queue ${name} would have a name of ${sizeBytes} bytes, and RabbitMQ takes ${NAME_SIZE_MAX_BYTES}. Shorten the ` +
      `consumer's queue name.`,
  );
}

function refusal(cause: unknown): string {
  const { code, message } = cause as { code?: number; message?: string };
  if (code === 406) {
    return (
      `exists with other arguments than @Idempotent needs (${message}). Delete it once it is empty; it is declared again ` +
      `at the next start. Give time limits and lengths by policies, which do not collide.`
    );
  }
  if (code === 403) {
    return `may not be declared by this user (${message}). Grant it configure, write and read on that name.`;
  }
  return `was not declared: ${message ?? String(cause)}`;
}
