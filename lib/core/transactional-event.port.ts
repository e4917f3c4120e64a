import { type MessageHeaders } from './message';
import { type IsolationLevel, type Propagation } from './transactions.port';

/* eslint-disable @typescript-eslint/no-explicit-any -- results and arguments of methods that this library has never seen */

/** A class whose class-validator decorators say what a payload must look like. */
export type PayloadSchema = new (...args: any[]) => object;

/** One `@TransactionalEvent` on a method: how its message is made from what the method returned and was given. */
export interface EventDefinition {
  readonly type: string;
  readonly payload?: (result: any, args: any) => unknown;
  readonly key?: string | ((result: any, args: any) => string | null | undefined);
  readonly when?: (result: any, args: any) => boolean;
  readonly id?: (result: any, args: any) => string;
  readonly delayMs?: number | ((result: any, args: any) => number);
  readonly expiresInMs?: number | ((result: any, args: any) => number);
  readonly headers?: MessageHeaders | ((result: any, args: any) => MessageHeaders);
  readonly destination?: string | ((result: any, args: any) => string);
  readonly tenant?: string | ((result: any, args: any) => string | null | undefined);
  readonly transport?: string;
  readonly schemaVersion?: number;
  readonly schema?: PayloadSchema;
}

/** One call of a decorated method. */
export interface TransactionalCall {
  /** `OrderService.place`, for messages and logs. */
  readonly name: string;
  readonly propagation: Propagation | undefined;
  readonly isolation: IsolationLevel | undefined;
  readonly events: readonly EventDefinition[];
  readonly args: readonly unknown[];
  /** Calls the method itself. */
  readonly invoke: () => unknown;
}

/** Runs `@TransactionalEvent` methods. Concurrency contract: any number of calls at once, each in its caller's context. */
export interface TransactionalEventRuntime {
  /** Opens or joins the transaction, runs the method, publishes its events, commits; resolves with the method's result. */
  run(call: TransactionalCall): Promise<unknown>;
}
