import { OutboxConfigurationError } from '../core/errors';
import type { OutboxEvents } from '../core/events';
import type { StagedMessage } from '../core/message';
import type { MessageTypeName, PayloadOf } from '../core/message-types';
import { transactionalEventProperty } from '../core/tokens';
import type { TransactionHandle, TransactionOptions, Transactions } from '../core/transactions.port';
import type { MessageFactory } from './message-factory';
import { validatePayload } from './payload-validator';
import type { MessageToPublish, PublishOptions } from './publish-options';
import { TransactionalEventRunner } from './transactional-event-runner';

/** Publishes messages in the application's transactions. Inject it. */
export class Outbox {
  /** What runs `@TransactionalEvent` methods over this outbox. */
  readonly transactionalEvents: TransactionalEventRunner;

  constructor(
    private readonly dataSourceName: string,
    private readonly transactions: Transactions,
    private readonly events: OutboxEvents,
    /** null where the application has an inbox and no outbox. */
    private readonly factory: MessageFactory | null,
  ) {
    this.transactionalEvents = new TransactionalEventRunner(transactions, (...message) =>
      this.publishOne(...message),
    );
  }

  /**
   * Publishes one message: it is sent if, and only if, the transaction commits.
   * @param type what happened, e.g. `order.placed`
   * @param payload what to tell; by default it is sent as JSON
   * @returns the message's id
   * @throws TransactionRequiredError where no transaction is open; InvalidMessageError, which names the property
   */
  publish<Type extends MessageTypeName>(
    type: Type,
    payload: PayloadOf<Type>,
    options: PublishOptions = {},
  ): Promise<string> {
    return this.publishOne(type, payload, options);
  }

  /**
   * Publishes several messages, all or none, in the order given.
   * @returns their ids, in that order
   */
  async publishAll(
    messages: readonly MessageToPublish[],
    options: Pick<PublishOptions, 'manager'> = {},
  ): Promise<string[]> {
    const made = messages.map((message) => this.make(message.type, message.payload, message));
    // As in publish(): what can be staged at once is, in case nobody awaits this.
    const staged = made.every((message) => !(message instanceof Promise))
      ? (made as StagedMessage[])
      : await Promise.all(made.map((message) => Promise.resolve(message)));
    this.stage(staged, options.manager);
    return staged.map((message) => message.id);
  }

  /** Runs work in a transaction that injected repositories and `publish()` join, and commits it. */
  transaction<Result>(work: () => Promise<Result>, options: TransactionOptions = {}): Promise<Result> {
    return this.transactions.run({ name: 'outbox.transaction()', ...options }, work);
  }

  /** Runs work outside of any ambient transaction: for whatever is to outlive the caller. */
  outside<Result>(work: () => Result): Result {
    return this.transactions.outside(work);
  }

  /** Lets an object that Nest did not make run its `@TransactionalEvent` methods over this outbox. @returns the object */
  bind<Target extends object>(target: Target): Target {
    Object.defineProperty(target, transactionalEventProperty(this.dataSourceName), {
      value: this.transactionalEvents,
      configurable: true,
      enumerable: false,
    });
    return target;
  }

  private async publishOne(type: string, payload: unknown, options: PublishOptions): Promise<string> {
    const making = this.make(type, payload, options);
    const message = making instanceof Promise ? await making : making;
    this.stage([message], options.manager);
    return message.id;
  }

  private make(
    type: string,
    payload: unknown,
    options: PublishOptions,
  ): StagedMessage | Promise<StagedMessage> {
    const factory = this.factory;
    if (factory === null) {
      throw new OutboxConfigurationError(
        'role',
        "is 'consumer', so this application has no outbox to publish to. Give it a transport and role: 'full'.",
      );
    }
    if (options.schema === undefined) return factory.make(type, payload, options);
    return validatePayload(type, payload, options.schema).then(() => factory.make(type, payload, options));
  }

  private stage(messages: readonly StagedMessage[], handle: TransactionHandle | undefined): void {
    this.transactions.stage(messages, handle);
    if (!this.events.has('message.staged')) return;
    for (const { id, type, transport, destination, key } of messages) {
      this.events.emit('message.staged', { id, type, transport, destination, key });
    }
  }
}
