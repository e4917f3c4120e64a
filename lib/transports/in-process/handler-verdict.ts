import { HandlerNackedError, UnprocessableMessageError, describeError } from '../../core/errors';
import type { Golevelup } from './application-settings';
import type { ConsumerResult } from './delivery';
import type { Subscription } from './subscriptions';

const FINISHED: ConsumerResult = { kind: 'finished' };

/** What a handler's answer says: golevelup's `Nack`, recognised by its looks, because an application may hold two copies of it. */
export function verdictOnResponse(name: string, response: unknown): ConsumerResult {
  if (typeof response !== 'object' || response === null || response.constructor?.name !== 'Nack')
    return FINISHED;
  const retry = (response as { requeue?: unknown }).requeue === true;
  return { kind: 'failed', error: `${name} answered Nack(${retry})`, retry };
}

/**
 * What a handler's error says. The outbox retries with its own back-off and its own dead letters, which is what
 * requeueing is for; so of the handler's own ways only those are kept that say "done" or "never again".
 */
export function verdictOnError(
  peer: Golevelup,
  { name, config }: Subscription,
  error: unknown,
): ConsumerResult {
  const { errorBehavior, errorHandler } = config;
  if (
    errorHandler === peer.ackErrorHandler ||
    (!errorHandler && errorBehavior === peer.MessageHandlerErrorBehavior.ACK)
  ) {
    return FINISHED;
  }
  const dropped =
    errorHandler === peer.defaultNackErrorHandler ||
    (!errorHandler && errorBehavior === peer.MessageHandlerErrorBehavior.NACK);
  const givenUp =
    error instanceof UnprocessableMessageError || (error instanceof HandlerNackedError && !error.requeue);
  const retry = !dropped && !givenUp;
  return { kind: 'failed', error: `${name}: ${describeError(error)}`, retry };
}
