/**
 * The application's message types: an interface from type name to payload. Empty here; an application may fill it once,
 * and the compiler then checks its publishers and its handlers:
 *
 * ```ts
 * declare module 'nestjs-outbox' {
 *   interface OutboxMessageTypes {
 *     'order.placed': { orderId: string; totalCents: number };
 *   }
 * }
 * ```
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface OutboxMessageTypes {}

/** A message type's name: any string until the application has declared its own. */
export type MessageTypeName = [keyof OutboxMessageTypes] extends [never]
  ? string
  : Extract<keyof OutboxMessageTypes, string>;

/** The payload that belongs to a type name: `unknown` until the application has declared its own. */
export type PayloadOf<Type extends string> = Type extends keyof OutboxMessageTypes
  ? OutboxMessageTypes[Type]
  : unknown;
