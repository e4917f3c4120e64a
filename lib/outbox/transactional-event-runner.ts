import type {
  EventDefinition,
  TransactionalCall,
  TransactionalEventRuntime,
} from '../core/transactional-event.port';
import type { Transactions } from '../core/transactions.port';
import type { PublishOptions } from './publish-options';

/** Publishes into the ambient transaction; what types the compiler knows, it checked where the decorator was applied. */
type Publish = (type: string, payload: unknown, options: PublishOptions) => Promise<string>;

/** What `@TransactionalEvent` does at run time: transaction, method, messages, commit. */
export class TransactionalEventRunner implements TransactionalEventRuntime {
  constructor(
    private readonly transactions: Transactions,
    private readonly publish: Publish,
  ) {}

  run(call: TransactionalCall): Promise<unknown> {
    const options = {
      name: call.name,
      ...(call.propagation !== undefined && { propagation: call.propagation }),
      ...(call.isolation !== undefined && { isolation: call.isolation }),
    };
    return this.transactions.run(options, async () => {
      const result = await call.invoke();
      for (const event of call.events) await this.publishEvent(event, result, call.args);
      return result;
    });
  }

  private async publishEvent(
    event: EventDefinition,
    result: unknown,
    args: readonly unknown[],
  ): Promise<void> {
    if (event.when !== undefined && !event.when(result, args)) return;
    const payload = event.payload === undefined ? result : event.payload(result, args);
    await this.publish(event.type, payload, publishOptions(event, result, args));
  }
}

function publishOptions(event: EventDefinition, result: unknown, args: readonly unknown[]): PublishOptions {
  const valueOf = <Value>(
    given: Value | ((result: unknown, args: readonly unknown[]) => Value) | undefined,
  ): Value | undefined =>
    typeof given === 'function'
      ? (given as (result: unknown, args: readonly unknown[]) => Value)(result, args)
      : given;
  const options: { [Name in keyof PublishOptions]: PublishOptions[Name] | undefined } = {
    key: valueOf(event.key),
    id: event.id?.(result, args),
    delayMs: valueOf(event.delayMs),
    expiresInMs: valueOf(event.expiresInMs),
    headers: valueOf(event.headers),
    destination: valueOf(event.destination),
    tenant: valueOf(event.tenant),
    transport: event.transport,
    schemaVersion: event.schemaVersion,
    schema: event.schema,
  };
  return options;
}
