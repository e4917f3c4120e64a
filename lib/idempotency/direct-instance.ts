import { INTERCEPTORS_METADATA, ROUTE_ARGS_METADATA } from '@nestjs/common/constants';

import { IDEMPOTENT_METADATA } from '../core/idempotency.port';
import type { IdempotentMethod } from './discovery';

/** @returns the instance to call the method on directly; null where Nest has to, see `IdempotentHandling.instanceOf` */
export function directInstanceOf({
  marker,
  handler,
  instance,
  methodName,
  isShared,
  isSingleton,
}: IdempotentMethod): object | null {
  if (isShared || !isSingleton) return null;
  // Only parameters with `@RabbitPayload()` or its like pass through pipes.
  if (Reflect.hasMetadata(ROUTE_ARGS_METADATA, instance.constructor, methodName)) return null;
  // In the order in which they are passed through; those of the class and of the application come before.
  const interceptors = Reflect.getMetadata(INTERCEPTORS_METADATA, handler) as unknown[] | undefined;
  const innermost = interceptors?.at(-1);
  const isOurs =
    typeof innermost === 'function' && Reflect.getMetadata(IDEMPOTENT_METADATA, innermost) === marker;
  return isOurs ? instance : null;
}
