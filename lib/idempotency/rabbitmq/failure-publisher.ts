import { Logger } from '@nestjs/common';
import type { ChannelModel, ConfirmChannel, Message, Options } from 'amqplib';
import { randomUUID } from 'node:crypto';

import type { Clock } from '../../core/clock';
import { describeError, FailureQueueError } from '../../core/errors';
import { FAILURE_HEADERS } from '../origin';
import type { FailureQueues } from './failure-queues';
import { type AmqpConnection, golevelup } from './golevelup';

const CONNECT_TIMEOUT_MS = 10_000;
/** For a channel, a queue that is declared, a confirmation. */
const ANSWER_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 5_000;

/**
 * Puts messages into retry and dead-letter queues, each with the broker's confirmation.
 *
 * On a connection of its own: RabbitMQ stops reading from one that publishes while memory or disk run short, and with it
 * would stop the acknowledgements, which free both. It is opened for the first failure.
 *
 * Every copy is mandatory. One that comes back means that somebody deleted the queue: it is declared again, once.
 * A broker that says nothing is waited for within a bound, for every answer. Then the connection is cut, though it may look
 * alive, and another is opened.
 * A time-out or a lost connection leaves it open whether the copy is there. The caller then tries again or has the original
 * delivered again, so there may be two; the inbox lets one take effect.
 */
export class FailurePublisher {
  private readonly logger = new Logger('Idempotent');
  /** Copies without an answer, and whether they came back. */
  private readonly inFlight = new Map<string, 'sent' | 'returned'>();
  private readonly declared = new WeakSet<FailureQueues>();
  private amqp: AmqpConnection | null = null;
  private channel: Promise<ConfirmChannel> | null = null;
  private isClosed = false;

  constructor(
    private readonly source: AmqpConnection,
    private readonly clock: Clock,
  ) {}

  /** Resolves when the broker has the copy in that queue. Rejects within a bound. */
  async publish(
    queues: FailureQueues,
    queue: string,
    content: Buffer,
    options: Options.Publish,
  ): Promise<void> {
    if (!this.declared.has(queues)) await this.declareOwn(queues);
    if (await this.send(queue, content, options)) return;
    await this.declareOwn(queues);
    if (await this.send(queue, content, options)) return;
    throw new FailureQueueError(
      queue,
      'does not take messages: it was declared, and the broker finds no way to it.',
    );
  }

  /** Declares a consumer's queues over a connection that is there already. */
  async declare(queues: FailureQueues, connection: ChannelModel): Promise<void> {
    await queues.declare(connection);
    this.declared.add(queues);
  }

  /** What is published from now on is rejected: its connection would be nobody's to close. */
  async close(): Promise<void> {
    this.isClosed = true;
    const { amqp } = this;
    this.amqp = null;
    this.channel = null;
    if (amqp === null) return;
    // amqp-connection-manager never finishes to close while it is between two tries to connect.
    await this.bounded(amqp.close(), CLOSE_TIMEOUT_MS, 'closing').catch((error: unknown) => {
      this.logger.debug(`The connection for retries did not close: ${describeError(error)}`);
      // golevelup comes to that last, and never where a channel does not close: the manager would connect again, for ever.
      amqp.managedConnection.close().catch(() => undefined);
      cut(amqp.managedConnection.connection);
    });
  }

  private async declareOwn(queues: FailureQueues): Promise<void> {
    const declaring = this.declare(queues, await this.connected());
    await this.answer(declaring, 'the queues for retries to be declared');
  }

  /** @returns false when the copy came back, because there is no such queue. */
  private async send(queue: string, content: Buffer, options: Options.Publish): Promise<boolean> {
    const channel = await this.openChannel();
    const copy = randomUUID();
    const headers = { ...(options.headers as object), [FAILURE_HEADERS.copy]: copy };
    this.inFlight.set(copy, 'sent');
    try {
      const confirmed = new Promise<void>((resolve, reject) => {
        channel.publish('', queue, content, { ...options, headers, mandatory: true }, (error: unknown) => {
          if (error === null || error === undefined) resolve();
          else
            reject(
              new FailureQueueError(queue, `refused a message: ${describeError(error)}`, { cause: error }),
            );
        });
      });
      await this.answer(
        confirmed,
        `the confirmation from ${queue}. Should that go on, see whether the queue has a leader (rabbitmq-queues quorum_status)`,
      );
      // What comes back comes before its confirmation.
      return this.inFlight.get(copy) === 'sent';
    } finally {
      this.inFlight.delete(copy);
    }
  }

  private openChannel(): Promise<ConfirmChannel> {
    if (this.channel !== null) return this.channel;
    const opening = this.connected().then(async (connection) => {
      const channel = await this.answer(connection.createConfirmChannel(), 'a channel for retries');
      channel.on('return', (message: Message) => {
        const copy: unknown = message.properties.headers?.[FAILURE_HEADERS.copy];
        if (typeof copy === 'string' && this.inFlight.has(copy)) this.inFlight.set(copy, 'returned');
      });
      channel.on('error', (error: unknown) => {
        this.logger.warn(`The broker closed the channel for retries: ${describeError(error)}`);
      });
      channel.once('close', () => {
        this.forget(opening);
      });
      return channel;
    });
    this.channel = opening;
    opening.catch(() => {
      this.forget(opening);
    });
    return opening;
  }

  /** Waits for what the broker was asked. Where nothing comes, the connection is cut; the connection manager opens another. */
  private async answer<T>(asked: Promise<T>, what: string): Promise<T> {
    const connection = this.amqp?.managedConnection.connection;
    let settled = false;
    const asking = asked.finally(() => (settled = true));
    try {
      return await this.bounded(asking, ANSWER_TIMEOUT_MS, what);
    } catch (error) {
      if (!settled) cut(connection);
      throw error;
    }
  }

  private forget(channel: Promise<ConfirmChannel>): void {
    if (this.channel === channel) this.channel = null;
  }

  /** Waits for the connection, which the connection manager opens again by itself when it is lost. */
  private async connected(): Promise<ChannelModel> {
    if (this.isClosed) throw new Error('The application shuts down.');
    this.amqp ??= this.connect();
    const manager = this.amqp.managedConnection;
    if (manager.connection !== undefined) return manager.connection;
    let onConnect: (event: { connection: unknown }) => void = () => undefined;
    const connected = new Promise<ChannelModel>((resolve) => {
      onConnect = ({ connection }) => {
        resolve(connection as ChannelModel);
      };
      manager.once('connect', onConnect);
    });
    try {
      return await this.bounded(connected, CONNECT_TIMEOUT_MS, 'a connection for retries');
    } finally {
      manager.removeListener('connect', onConnect);
    }
  }

  /** The application's own address, credentials and TLS; nothing else of it. */
  private connect(): AmqpConnection {
    const { configuration } = this.source;
    const { connectionManagerOptions } = configuration;
    const amqp = new (golevelup().AmqpConnection)({
      ...configuration,
      name: `${configuration.name}: retries of @Idempotent handlers`,
      exchanges: [],
      exchangeBindings: [],
      queues: [],
      channels: {},
      handlers: {},
      registerHandlers: false,
      enableDirectReplyTo: false,
      connectionManagerOptions: {
        ...connectionManagerOptions,
        // amqplib waits for a handshake for ever, and a connection without one cannot be reached to be cut.
        connectionOptions: {
          timeout: CONNECT_TIMEOUT_MS,
          ...connectionManagerOptions?.connectionOptions,
        },
      },
      connectionInitOptions: { ...configuration.connectionInitOptions, wait: false },
      logger: this.logger,
    });
    amqp.init().catch((error: unknown) => {
      this.logger.error(`The connection for retries cannot be set up: ${describeError(error)}`);
    });
    return amqp;
  }

  private bounded<T>(work: Promise<T>, timeoutMs: number, what: string): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancel = this.clock.after(timeoutMs, () => {
        reject(new Error(`Waited ${timeoutMs} ms in vain for ${what}`));
      });
      work.then(resolve, reject).finally(cancel);
    });
  }
}

/** amqplib has no public word for its socket. */
function cut(connection: unknown): void {
  const { stream } =
    (connection as { connection?: { stream?: { destroy?(error: Error): void } } } | undefined)?.connection ??
    {};
  stream?.destroy?.(new Error('It does not answer.'));
}
