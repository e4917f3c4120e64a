import { type ChannelModel, connect, type ConfirmChannel, type GetMessage, type Options } from 'amqplib';
import { randomUUID } from 'node:crypto';
import { waitFor } from '../../support/wait-for';

/** A publisher's and an operator's view of the broker. */
export class TestBroker {
  private constructor(
    private readonly connection: ChannelModel,
    private readonly channel: ConfirmChannel,
  ) {}

  static async connect(url: string): Promise<TestBroker> {
    const connection = await connect(url);
    const channel = await connection.createConfirmChannel();
    await channel.assertExchange('shop', 'topic', { durable: true });
    return new TestBroker(connection, channel);
  }

  /** Publishes to the exchange `shop`; resolves when the broker has it. @returns the message id. */
  async publish(routingKey: string, payload: unknown, options: Options.Publish = {}): Promise<string> {
    const messageId = randomUUID();
    const content = Buffer.isBuffer(payload) ? payload : Buffer.from(JSON.stringify(payload));
    this.channel.publish('shop', routingKey, content, {
      messageId,
      persistent: true,
      contentType: 'application/json',
      type: routingKey,
      ...options,
    });
    await this.channel.waitForConfirms();
    return options.messageId ?? messageId;
  }

  /** Takes one message from a queue, waiting for it. */
  take(queue: string): Promise<GetMessage> {
    return waitFor(() => this.channel.get(queue, { noAck: true }), { what: `a message in ${queue}` });
  }

  /** Messages in a queue that nobody holds. */
  async count(queue: string): Promise<number> {
    return (await this.channel.checkQueue(queue)).messageCount;
  }

  async declare(queue: string, options: Options.AssertQueue): Promise<void> {
    await this.channel.assertQueue(queue, options);
  }

  async delete(queue: string): Promise<void> {
    await this.channel.deleteQueue(queue);
  }

  close(): Promise<void> {
    return this.connection.close();
  }
}
