import { Inject } from '@nestjs/common';

import { OutboxConfigurationError, RuntimeMissingError } from '../core/errors';
import type { MessageHeaders } from '../core/message';
import type { MessageTypeName, PayloadOf } from '../core/message-types';
import { DEFAULT_DATA_SOURCE, OUTBOX_PART, outboxToken, transactionalEventProperty } from '../core/tokens';
import type {
  EventDefinition,
  PayloadSchema,
  TransactionalEventRuntime,
} from '../core/transactional-event.port';
import type { IsolationLevel, Propagation } from '../core/transactions.port';

/* eslint-disable @typescript-eslint/no-explicit-any -- decorators meet methods of every shape */

/** How the message is made, and how the method runs. Functions get the method's result and its arguments. */
export interface TransactionalEventOptions<
  Type extends string,
  Result = any,
  Args extends readonly any[] = any[],
> {
  /** What to tell. @default the method's result */
  payload?: (result: Result, args: Args) => PayloadOf<Type>;
  /** Messages with the same key are sent in commit order. @default none */
  key?: string | ((result: Result, args: Args) => string | null | undefined);
  /** Publish only if so. @default always */
  when?: (result: Result, args: Args) => boolean;
  /** A UUID of the caller's own. @default a version 7 UUID */
  id?: (result: Result, args: Args) => string;
  /** Send so long after the commit at the earliest, in milliseconds. @default 0 */
  delayMs?: number | ((result: Result, args: Args) => number);
  /** Not sent any more so long after the commit, in milliseconds. @default never */
  expiresInMs?: number | ((result: Result, args: Args) => number);
  /** Strings to go with it. @default {} */
  headers?: MessageHeaders | ((result: Result, args: Args) => MessageHeaders);
  /** Where to, in the transport's terms. @default the transport's own */
  destination?: string | ((result: Result, args: Args) => string);
  /** Kept with the message and sent as a header. @default none */
  tenant?: string | ((result: Result, args: Args) => string | null | undefined);
  /** The transport's registered name. @default the first */
  transport?: string;
  /** A version of the payload's shape; sent as a header. @default none */
  schemaVersion?: number;
  /** A class-validator class; a payload that does not fit fails the transaction. @default none */
  schema?: PayloadSchema;
  /** How the method meets a transaction that is already open. @default 'required' */
  propagation?: Propagation;
  /** The isolation of the transaction that it opens. @default the data source's */
  isolation?: IsolationLevel;
  /** The data source's name, as in `@nestjs/typeorm`. @default 'default' */
  dataSource?: string;
}

type AsyncMethod<Args extends readonly any[], Result> = (
  ...args: Args extends any[] ? Args : any[]
) => Promise<Result>;

/** What one decorated method does, gathered from all its decorators; kept with the wrapper that runs it. */
interface Wrapping {
  readonly events: EventDefinition[];
  propagation: Propagation | undefined;
  isolation: IsolationLevel | undefined;
  readonly dataSource: string;
}

const wrappings = new WeakMap<object, Wrapping>();

/**
 * Makes a method one transaction with its message: opens or joins the transaction, runs the method, writes the message
 * made of its result, commits, and only then sends. Several on one method publish several messages, from top to bottom.
 *
 * ```ts
 * @TransactionalEvent('order.placed', { key: (order: Order) => order.id })
 * async place(command: PlaceOrder): Promise<Order> { … }
 * ```
 */
export function TransactionalEvent<Type extends MessageTypeName, Result, Args extends readonly any[]>(
  type: Type,
  options: TransactionalEventOptions<Type, Result, Args> & {
    payload: (result: Result, args: Args) => PayloadOf<Type>;
  },
): <Method extends AsyncMethod<any[], Result>>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;
export function TransactionalEvent<
  Type extends MessageTypeName,
  Result extends PayloadOf<Type>,
  Args extends readonly any[],
>(
  type: Type,
  options?: TransactionalEventOptions<Type, Result, Args> & { payload?: undefined },
): <Method extends AsyncMethod<any[], Result>>(
  target: object,
  property: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;
export function TransactionalEvent(type: string, options: TransactionalEventOptions<string> = {}) {
  return (target: object, property: string | symbol, descriptor: TypedPropertyDescriptor<any>): void => {
    const method = descriptor.value as unknown;
    if (typeof method !== 'function') {
      throw new OutboxConfigurationError(
        '@TransactionalEvent',
        `on ${nameOf(target, property)}: it decorates methods only.`,
      );
    }
    const { propagation, isolation, dataSource = DEFAULT_DATA_SOURCE, ...event } = options;
    const existing = wrappings.get(method);
    if (existing !== undefined) {
      merge(
        existing,
        { type, ...event },
        propagation,
        isolation,
        options.dataSource,
        nameOf(target, property),
      );
      return;
    }
    const wrapping: Wrapping = { events: [{ type, ...event }], propagation, isolation, dataSource };
    descriptor.value = wrap(method as (...args: unknown[]) => unknown, wrapping, target, property);
    injectRuntime(target, dataSource);
  };
}

/** Decorators run from the bottom to the top, and their messages are to leave from the top to the bottom. */
function merge(
  wrapping: Wrapping,
  event: EventDefinition,
  propagation: Propagation | undefined,
  isolation: IsolationLevel | undefined,
  dataSource: string | undefined,
  name: string,
): void {
  const conflict = (option: string): never => {
    throw new OutboxConfigurationError(
      `@TransactionalEvent.${option}`,
      `differs between the decorators of ${name}; one method is one transaction. Give it once.`,
    );
  };
  if (propagation !== undefined && wrapping.propagation !== undefined && propagation !== wrapping.propagation)
    conflict('propagation');
  if (isolation !== undefined && wrapping.isolation !== undefined && isolation !== wrapping.isolation)
    conflict('isolation');
  if (dataSource !== undefined && dataSource !== wrapping.dataSource) conflict('dataSource');
  wrapping.propagation ??= propagation;
  wrapping.isolation ??= isolation;
  wrapping.events.unshift(event);
}

function wrap(
  method: (...args: unknown[]) => unknown,
  wrapping: Wrapping,
  target: object,
  property: string | symbol,
): unknown {
  const runtimeProperty = transactionalEventProperty(wrapping.dataSource);
  const definedName = nameOf(target, property);
  const wrapper = async function (this: Record<symbol, unknown>, ...args: unknown[]): Promise<unknown> {
    const runtime = this[runtimeProperty] as TransactionalEventRuntime | undefined;
    if (runtime === undefined) throw new RuntimeMissingError(definedName);
    return runtime.run({
      name: definedName,
      propagation: wrapping.propagation,
      isolation: wrapping.isolation,
      events: wrapping.events,
      args,
      invoke: () => method.apply(this, args),
    });
  };
  // Other decorators left their metadata on the method; frameworks read it from what stands in the descriptor.
  for (const key of Reflect.getMetadataKeys(method)) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, method), wrapper);
  }
  Object.defineProperty(wrapper, 'name', { value: method.name, configurable: true });
  Object.defineProperty(wrapper, 'length', { value: method.length, configurable: true });
  wrappings.set(wrapper, wrapping);
  return wrapper;
}

/** Nest fills the property of every instance that it makes: singletons, request-scoped and transient ones alike. */
function injectRuntime(target: object, dataSource: string): void {
  const property = transactionalEventProperty(dataSource);
  if (Reflect.hasOwnMetadata(property, target)) return;
  Reflect.defineMetadata(property, true, target);
  Inject(outboxToken(OUTBOX_PART.transactionalEvents, dataSource))(target, property);
}

function nameOf(target: object, property: string | symbol): string {
  return `${target.constructor.name}.${String(property)}`;
}
