import { ROUTE_ARGS_METADATA } from '@nestjs/common/constants';
import type { ExternalContextCreator } from '@nestjs/core';
import type { ConsumeMessage } from 'amqplib';

import { HandlerNackedError } from '../../core/errors';
import type { HandlingOutcome, IdempotencyRuntime } from '../idempotency-runtime';
import { asNack } from '../nack';
import { golevelup } from './golevelup';
import type { SubscribedMethod, Subscription } from './subscriptions';

type Invocation = (payload: unknown, message: unknown, headers: unknown) => Promise<unknown>;

/** Runs a handler once more for one message, as golevelup does: deserialised afresh, through guards, interceptors and pipes. */
export class HandlerRerun {
  private invocation: Invocation | null = null;

  constructor(
    private readonly method: SubscribedMethod,
    private readonly runtime: IdempotencyRuntime,
    private readonly contexts: ExternalContextCreator,
  ) {}

  async run({ amqp, config }: Subscription, message: ConsumeMessage): Promise<HandlingOutcome> {
    try {
      this.invocation ??= this.createInvocation();
      const payload = deserialize(config.deserializer ?? amqp?.configuration.deserializer, config, message);
      const { headers } = message.properties;
      const response = await (config.batchOptions === undefined
        ? this.invocation(payload, message, headers)
        : this.invocation([payload], [message], [headers]));
      const nack = asNack(response);
      if (nack !== null) throw new HandlerNackedError(this.method.name, nack.requeue);
      return { kind: 'handled' };
    } catch (error) {
      return this.runtime.outcomeOf(message) ?? { kind: 'failed', error };
    }
  }

  private createInvocation(): Invocation {
    const { RABBIT_CONTEXT_TYPE_KEY, RabbitRpcParamsFactory } = golevelup();
    const { handler, instance, methodName } = this.method;
    const bound: (...args: unknown[]) => unknown = handler.bind(instance);
    // Guards and interceptors are looked up on the function that is called.
    for (const key of Reflect.getMetadataKeys(handler)) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, handler), bound);
    }
    return this.contexts.create(
      instance,
      bound,
      methodName,
      ROUTE_ARGS_METADATA,
      new RabbitRpcParamsFactory(),
      undefined,
      undefined,
      undefined,
      RABBIT_CONTEXT_TYPE_KEY as never,
    ) as Invocation;
  }
}

function deserialize(
  deserializer: ((content: Buffer, message: ConsumeMessage) => unknown) | undefined,
  { allowNonJsonMessages }: Subscription['config'],
  message: ConsumeMessage,
): unknown {
  try {
    return deserializer === undefined
      ? (JSON.parse(message.content.toString()) as unknown)
      : deserializer(message.content, message);
  } catch (error) {
    if (allowNonJsonMessages) return message.content.toString();
    throw error;
  }
}
