/** Every error of the library: a stable `code`, data as fields, and a message that names the remedy. */
export abstract class OutboxError extends Error {
  /** Stable across versions; the README lists them all. */
  abstract readonly code: string;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An option, or a combination of options, cannot work. Thrown at boot. */
export class OutboxConfigurationError extends OutboxError {
  readonly code = 'OUTBOX_CONFIGURATION';
  constructor(
    /** The option's path, e.g. `relay.leaseMs`. */
    readonly option: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(`${option}: ${message}`, options);
  }
}

/** An optional package is needed and not installed. Thrown at boot. */
export class MissingPeerError extends OutboxError {
  readonly code = 'OUTBOX_MISSING_PEER';
  constructor(
    readonly packageName: string,
    readonly neededFor: string,
    options?: ErrorOptions,
  ) {
    super(`${neededFor} needs the package ${packageName}. Install it: npm install ${packageName}`, options);
  }
}

/** The database's schema is missing, or too new for this version. Thrown at boot. */
export class SchemaMismatchError extends OutboxError {
  readonly code = 'OUTBOX_SCHEMA';
}

/** The database server cannot do what an outbox needs. Thrown at boot. */
export class UnsupportedDatabaseError extends OutboxError {
  readonly code = 'OUTBOX_UNSUPPORTED_DATABASE';
  constructor(
    readonly database: string,
    message: string,
  ) {
    super(message);
  }
}

/** A message was published where no transaction is open. */
export class TransactionRequiredError extends OutboxError {
  readonly code = 'OUTBOX_TRANSACTION_REQUIRED';
  constructor(what: string) {
    super(
      `${what} needs an open transaction, and none is in sight here. Ways out: put @TransactionalEvent() or ` +
        `outbox.transaction(async () => …) around it; or name the transaction: publish(type, payload, { manager }) ` +
        `with the manager of dataSource.transaction(async (manager) => …). A transaction begun with a raw ` +
        `query('BEGIN') is not seen: use queryRunner.startTransaction().`,
    );
  }
}

/** A transaction cannot commit, because a part of it failed and somebody caught that failure. */
export class TransactionRollbackOnlyError extends OutboxError {
  readonly code = 'OUTBOX_TRANSACTION_ROLLBACK_ONLY';
  constructor(
    readonly transaction: string,
    options?: ErrorOptions,
  ) {
    super(
      `The transaction ${transaction} was rolled back: a transactional method that had joined it failed, and its error ` +
        `was caught outside of that method. Let the error through, or give the inner method propagation: 'nested'.`,
      options,
    );
  }
}

/** The server answered COMMIT with ROLLBACK: a statement before it had failed, and its error was swallowed. */
export class TransactionAbortedError extends OutboxError {
  readonly code = 'OUTBOX_TRANSACTION_ABORTED';
  constructor(reason: string, options?: ErrorOptions) {
    super(
      `The transaction was not committed: ${reason}. Nothing of it is stored, and none of its messages will be sent. ` +
        `Do not swallow the error of a failed statement; where it is expected, use a savepoint (propagation: 'nested').`,
      options,
    );
  }
}

/** Something used an ambient transaction after it had ended: usually a promise that was not awaited. */
export class TransactionEndedError extends OutboxError {
  readonly code = 'OUTBOX_TRANSACTION_ENDED';
  constructor(readonly transaction: string) {
    super(
      `The transaction ${transaction} has ended, and something begun inside it still wanted to use it. Await every ` +
        `promise inside the transactional method; start what must outlive it with outbox.outside(() => …).`,
    );
  }
}

/** A transaction was asked for in a way that the transaction at hand does not allow. */
export class TransactionPropagationError extends OutboxError {
  readonly code = 'OUTBOX_TRANSACTION_PROPAGATION';
}

/** No connection for a new transaction came free in time, while this one holds one. */
export class ConnectionExhaustedError extends OutboxError {
  readonly code = 'OUTBOX_CONNECTION_EXHAUSTED';
  constructor(
    readonly transaction: string,
    readonly waitedMs: number,
  ) {
    super(
      `${transaction} (propagation: 'requiresNew') waited ${waitedMs} ms for a second connection while its caller holds ` +
        `one. Raise the pool's size above the number of concurrent callers, or use 'required' or 'nested'.`,
    );
  }
}

/** A write inside a transactional method went to another connection. Thrown with `escapedWrites: 'error'`. */
export class EscapedWriteError extends OutboxError {
  readonly code = 'OUTBOX_ESCAPED_WRITE';
  constructor(
    readonly transaction: string,
    readonly query: string,
  ) {
    super(
      `A write inside ${transaction} went past its transaction: ${query}. dataSource.query(), ` +
        `dataSource.createQueryBuilder() and a queryRunner of one's own do not join it: use an injected repository, ` +
        `dataSource.manager, or outbox.outside(() => …) where it is meant.`,
    );
  }
}

/** A published message is not valid; its transaction fails. */
export class InvalidMessageError extends OutboxError {
  readonly code = 'OUTBOX_INVALID_MESSAGE';
  constructor(
    readonly messageType: string,
    /** What is wrong, e.g. `payload.items.0.quantity`. */
    readonly property: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(`Message ${messageType}: ${property} ${reason}`, options);
  }
}

/** A class with `@TransactionalEvent` methods was made without the outbox. */
export class RuntimeMissingError extends OutboxError {
  readonly code = 'OUTBOX_RUNTIME_MISSING';
  constructor(readonly method: string) {
    super(
      `${method} is decorated with @TransactionalEvent, and its object was not made by Nest, so it has no outbox. ` +
        `Let Nest make it (a provider, moduleRef.create()), or bind it by hand: outbox.bind(object).`,
    );
  }
}

/** The relay was asked for something that cannot end well here. */
export class RelayError extends OutboxError {
  readonly code = 'OUTBOX_RELAY';
}

/** An `@Idempotent()` handler was given a message that it must not process. */
export class UnprocessableMessageError extends OutboxError {
  readonly code = 'OUTBOX_UNPROCESSABLE_MESSAGE';
}

/** A concurrent duplicate did not end in time. The message is tried again later. */
export class DuplicateInProgressError extends OutboxError {
  readonly code = 'OUTBOX_DUPLICATE_IN_PROGRESS';
  constructor(
    readonly consumer: string,
    readonly messageKey: string,
    options?: ErrorOptions,
  ) {
    super(
      `${consumer}: another delivery of message ${messageKey} is still being handled. This one is tried again later; ` +
        `if handlers are that slow, raise idempotency.duplicateWaitMs.`,
      options,
    );
  }
}

/** An `@Idempotent()` handler returned golevelup's `Nack`: it refused the message, and nothing of it was kept. */
export class HandlerNackedError extends OutboxError {
  readonly code = 'OUTBOX_HANDLER_NACKED';
  constructor(
    readonly method: string,
    /** `new Nack(true)`: the message is tried again later; `new Nack()`: it goes to the dead-letter queue at once. */
    readonly requeue: boolean,
  ) {
    super(`${method} refused the message: it returned Nack(${requeue}).`);
  }
}

/** The queues for an `@Idempotent()` handler's retries and dead letters cannot be declared, or do not take a message. */
export class FailureQueueError extends OutboxError {
  readonly code = 'OUTBOX_FAILURE_QUEUE';
  constructor(
    readonly queue: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(`Queue ${queue}: ${reason}`, options);
  }
}

/** The error's message, in one line, whatever was thrown. */
export function describeError(error: unknown): string {
  const text =
    error instanceof Error
      ? `${error.name === 'Error' ? '' : `${error.name}: `}${error.message}`
      : String(error);
  return text.replace(/\s+/g, ' ').slice(0, 1_000);
}
