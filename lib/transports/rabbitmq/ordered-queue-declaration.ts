import type { Logger } from '@nestjs/common';
import type { ChannelModel } from 'amqplib';
import { describeError } from '../../core/errors';
import { type OrderedQueue, declareOrderedQueues } from '../../core/ordered-queue';

/**
 * Declares ordered queues at each connection. What is refused is told, and sending goes on: whoever consumes such a queue
 * declares it, too.
 */
export class OrderedQueueDeclaration {
  /** The broker closed the last connection for these; this one does without them. */
  private readonly refused = new Set<OrderedQueue>();

  constructor(
    private readonly queues: readonly OrderedQueue[],
    private readonly logger: Logger,
  ) {}

  /** Rejects when the connection is gone. */
  async declare(model: ChannelModel): Promise<void> {
    const queues = this.queues.filter((queue) => !this.refused.delete(queue));
    const failures = await declareOrderedQueues(model, queues);
    for (const { queue, error, kind } of failures) {
      if (kind !== 'disconnected') this.logger.error(describeError(error));
      if (kind === 'unknownType') this.refused.add(queue);
    }
    const fatal = failures.find(({ kind }) => kind !== 'refused');
    if (fatal !== undefined) throw fatal.error;
  }
}
