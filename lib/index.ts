// The public API, by name. The one exception: an interface that applications augment (`declare module 'nestjs-outbox'`)
// can be merged through `export *` alone.
export * from './core/message-types';

export { OutboxModule } from './outbox.module';
export type { OutboxModuleExtras } from './outbox.module-definition';
export type {
  IdempotencyOptions,
  OutboxModuleOptions,
  OutboxRole,
  RelayOptions,
  RetentionOptions,
  RetryOptions,
  TableOptions,
} from './outbox.options';

export {
  TransactionalEvent,
  type TransactionalEventOptions,
} from './decorators/transactional-event.decorator';
export { Idempotent } from './decorators/idempotent.decorator';
export {
  InjectDeadLetters,
  InjectOutbox,
  InjectOutboxEvents,
  InjectOutboxRelay,
} from './decorators/inject.decorators';
export { Outbox } from './outbox/outbox';
export type { MessageToPublish, PublishOptions } from './outbox/publish-options';
export { DeadLetters, type DeadLetterOptions, type DeadLetterResult } from './dead-letter/dead-letters';
export { outboxEntities } from './store/entities/outbox-entities';
export type { InboxMessageEntity, OutboxMessageEntity } from './store/entities/entity-types';

export type { Codec, EncodedPayload } from './core/codec.port';
export type { DeadLetter, DeadLetterFilter, DeadLetterPage } from './core/dead-letter-store.port';
export {
  ConnectionExhaustedError,
  DuplicateInProgressError,
  EscapedWriteError,
  FailureQueueError,
  HandlerNackedError,
  InvalidMessageError,
  MissingPeerError,
  OutboxConfigurationError,
  OutboxError,
  RelayError,
  RuntimeMissingError,
  SchemaMismatchError,
  TransactionAbortedError,
  TransactionEndedError,
  TransactionPropagationError,
  TransactionRequiredError,
  TransactionRollbackOnlyError,
  UnprocessableMessageError,
  UnsupportedDatabaseError,
} from './core/errors';
export {
  type ConsumedRef,
  type MessageRef,
  type OutboxEventMap,
  type OutboxEventName,
  OutboxEvents,
} from './core/events';
export type { Explanation, TransportState } from './core/explanation';
export type { ConsumedMessage, IdempotentOptions } from './core/idempotency.port';
export type { ClaimedMessage, MessageHeaders, MessageRecord } from './core/message';
export type { MessageStatus } from './core/message-status';
export { OutboxRelay, type OutboxStats } from './core/relay-control.port';
export type { PayloadSchema } from './core/transactional-event.port';
export type {
  IsolationLevel,
  Propagation,
  TransactionHandle,
  TransactionOptions,
} from './core/transactions.port';
export type {
  SendOutcome,
  Transport,
  TransportCapabilities,
  TransportContext,
  TransportDefinition,
} from './core/transport.port';
export type { Clock } from './core/clock';
