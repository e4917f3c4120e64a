/** The name of TypeORM's data source when none is given, as in `@nestjs/typeorm`. */
export const DEFAULT_DATA_SOURCE = 'default';

/**
 * Injection tokens of one data source's outbox. Strings that read well, because Nest prints them when one is missing.
 * The classes (`Outbox`, `OutboxRelay`, …) are tokens of the default data source, too.
 */
export function outboxToken(part: string, dataSource: string = DEFAULT_DATA_SOURCE): string {
  return `${part}(${dataSource}): import OutboxModule.forRoot() of nestjs-outbox in the root module`;
}

/** Parts of a data source's outbox that have a token. */
export const OUTBOX_PART = {
  options: 'OutboxOptions',
  assembly: 'OutboxAssembly',
  outbox: 'Outbox',
  relay: 'OutboxRelay',
  deadLetters: 'DeadLetters',
  events: 'OutboxEvents',
  transactionalEvents: 'TransactionalEventRuntime',
  idempotency: 'IdempotencyRuntime',
  transportOverride: 'OutboxTransportOverride',
} as const;

/** The property in which an object keeps what runs its `@TransactionalEvent` methods. Not enumerated by JSON. */
export function transactionalEventProperty(dataSource: string): symbol {
  return Symbol.for(`nestjs-outbox:transactional-events:${dataSource}`);
}

/** What `@Idempotent` handlers run in. */
export const IDEMPOTENCY_RUNTIME = OUTBOX_PART.idempotency;
