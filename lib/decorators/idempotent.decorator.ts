import {
  type ArgumentsHost,
  type CallHandler,
  Catch,
  type ExceptionFilter,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
  SetMetadata,
  type Type,
  UseFilters,
  UseInterceptors,
} from '@nestjs/common';
import { isObservable, lastValueFrom, of, type Observable } from 'rxjs';

import { OutboxConfigurationError } from '../core/errors';
import {
  IDEMPOTENT_METADATA,
  type IdempotentHandling,
  type IdempotentMarker,
  type IdempotentOptions,
} from '../core/idempotency.port';
import { DEFAULT_DATA_SOURCE, OUTBOX_PART, outboxToken } from '../core/tokens';

/**
 * Gives a `@RabbitSubscribe` handler one committed effect per message, under redelivery, concurrent duplicates and
 * crashes, for what it does in the database: the handler runs in a transaction that injected repositories join, together
 * with the record that the message was handled, and the message is acknowledged after the commit. A failure goes to a
 * delayed retry, and at last to the queue `<queue>.dead`. What the handler returns is dropped; golevelup's `Nack` counts
 * as a failure. Stands above or below `@RabbitSubscribe`, as you like.
 *
 * ```ts
 * @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'cart.order-placed' })
 * @Idempotent()
 * async onOrderPlaced(event: OrderPlaced) { … }
 * ```
 *
 * Exception filters of the class and of the application do not apply: one that swallows an error would have the message
 * acknowledged, and lost.
 */
export function Idempotent(options: IdempotentOptions = {}): MethodDecorator {
  return (target, property, descriptor) => {
    const method = `${target.constructor.name}.${String(property)}`;
    const handler: unknown = descriptor.value;
    if (typeof handler !== 'function' || typeof target === 'function') {
      throw new OutboxConfigurationError(
        '@Idempotent',
        `on ${method}: it decorates methods of instances only.`,
      );
    }
    if (Reflect.hasMetadata(IDEMPOTENT_METADATA, handler)) {
      throw new OutboxConfigurationError('@Idempotent', `stands twice on ${method}. Once is enough.`);
    }
    const marker: IdempotentMarker = {
      method,
      dataSource: options.dataSource ?? DEFAULT_DATA_SOURCE,
      options,
    };
    SetMetadata(IDEMPOTENT_METADATA, marker)(target, property, descriptor);
    UseInterceptors(interceptorOf(marker))(target, property, descriptor);
    UseFilters(RethrowingFilter)(target, property, descriptor);
  };
}

/** For a handler that gives no value at all. */
const NOTHING = { defaultValue: undefined };

/** What the handler returned is dropped. */
const ANSWER = of(undefined);

/** A class for each method, because Nest makes interceptors by class and this one has to know whose it is. */
function interceptorOf(marker: IdempotentMarker): Type<NestInterceptor> {
  @Injectable()
  class IdempotentInterceptor implements NestInterceptor {
    constructor(
      @Inject(outboxToken(OUTBOX_PART.idempotency, marker.dataSource))
      private readonly runtime: IdempotentHandling,
    ) {}

    async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
      // handle() is called inside the transaction and once for each try: Nest binds the handler to the asynchronous
      // context of that call.
      const args = context.getArgs();
      const instance = this.runtime.instanceOf(marker);
      const proceed =
        instance === null
          ? () => lastValueFrom(next.handle(), NOTHING)
          : () => call(context.getHandler(), instance, args);
      await this.runtime.handle(marker, args, proceed);
      return ANSWER;
    }
  }
  // By this it is known among the interceptors of its method.
  Reflect.defineMetadata(IDEMPOTENT_METADATA, marker, IdempotentInterceptor);
  return IdempotentInterceptor;
}

/** As Nest calls a handler that has neither pipes nor further interceptors. */
// eslint-disable-next-line @typescript-eslint/no-unsafe-function-type -- Nest's own type of a handler
async function call(handler: Function, instance: object, args: unknown[]): Promise<unknown> {
  const answer: unknown = await handler.apply(instance, args);
  return isObservable(answer) ? lastValueFrom(answer, NOTHING) : answer;
}

/** The nearest filter wins, and this one hands every error on to whoever decides about the message. */
@Catch()
class RethrowingFilter implements ExceptionFilter {
  catch(exception: unknown, _host: ArgumentsHost): never {
    throw exception;
  }
}
