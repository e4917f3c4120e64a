import type { ConsumeMessage, Options } from 'amqplib';

import { describeError } from '../../core/errors';
import { FAILURE_HEADERS } from '../origin';
import type { Tally } from './failure-policy';

/**
 * Headers that speak to the broker, and were obeyed when the message was published first: CC would send copies elsewhere
 * once more, and by `x-death` a broker may take a retry for a loop and drop it.
 */
const BROKER_HEADERS = ['CC', 'BCC', 'x-death', FAILURE_HEADERS.copy, FAILURE_HEADERS.diedAt];

/** What a copy's headers tell beside the message's own. */
export interface FailureReport {
  readonly error: unknown;
  readonly tally: Tally;
  readonly consumer: string;
  /** The consumer's queue; null where the broker names it. */
  readonly queue: string | null;
  /** When it was given up, in milliseconds since 1970; null for a retry. */
  readonly diedAtMs: number | null;
}

/** How a message has fared. One that was given up, and put back by a person, begins anew. */
export function tallyOf(message: ConsumeMessage): Tally {
  const headers = message.properties.headers ?? {};
  if (headers[FAILURE_HEADERS.diedAt] !== undefined) return { attempts: 0, waits: 0 };
  return {
    attempts: countOf(headers[FAILURE_HEADERS.attempts]),
    waits: countOf(headers[FAILURE_HEADERS.waits]),
  };
}

/** The properties of a copy for a retry queue or the dead-letter queue: the message's own, and why it is there. */
export function copyOptions({ fields, properties }: ConsumeMessage, report: FailureReport): Options.Publish {
  const headers: Record<string, unknown> = { ...properties.headers };
  for (const name of BROKER_HEADERS) delete headers[name];
  // Through a retry queue it comes back by the default exchange, so the first place is remembered from the first time on.
  headers[FAILURE_HEADERS.exchange] ??= fields.exchange;
  headers[FAILURE_HEADERS.routingKey] ??= fields.routingKey;
  headers[FAILURE_HEADERS.consumer] = report.consumer;
  if (report.queue !== null) headers[FAILURE_HEADERS.queue] = report.queue;
  headers[FAILURE_HEADERS.attempts] = report.tally.attempts;
  headers[FAILURE_HEADERS.waits] = report.tally.waits;
  headers[FAILURE_HEADERS.error] = describeError(report.error);
  if (report.diedAtMs !== null) headers[FAILURE_HEADERS.diedAt] = new Date(report.diedAtMs).toISOString();
  // The broker closes the channel of one who publishes under another's user id.
  if (properties.userId !== undefined) headers[FAILURE_HEADERS.userId] = properties.userId as string;
  return {
    headers,
    persistent: true,
    // No `expiration`: a copy of it would drop the message from the dead-letter queue.
    ...defined({
      contentType: properties.contentType as string | undefined,
      contentEncoding: properties.contentEncoding as string | undefined,
      priority: properties.priority as number | undefined,
      correlationId: properties.correlationId as string | undefined,
      replyTo: repliable(properties.replyTo),
      messageId: properties.messageId as string | undefined,
      timestamp: properties.timestamp as number | undefined,
      type: properties.type as string | undefined,
      appId: properties.appId as string | undefined,
    }),
  };
}

/** The broker refuses direct reply-to from a channel that does not await the reply. */
function repliable(replyTo: unknown): string | undefined {
  return typeof replyTo === 'string' && !replyTo.startsWith('amq.rabbitmq.reply-to') ? replyTo : undefined;
}

function defined<T extends object>(properties: T): Partial<T> {
  return Object.fromEntries(
    Object.entries(properties).filter(([, value]) => value !== undefined),
  ) as Partial<T>;
}

function countOf(header: unknown): number {
  return typeof header === 'number' && Number.isInteger(header) && header > 0 ? header : 0;
}
