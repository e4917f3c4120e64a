import { type Channel, type ChannelModel, type ConsumeMessage, connect } from 'amqplib';
import type { Transport } from '../../../lib/core/transport.port';
import { type RabbitMqOptions, rabbitMq } from 'nestjs-outbox/rabbitmq';
import { transportContext } from '../../contracts/transport.fixtures';

export async function startedTransport(options: RabbitMqOptions): Promise<Transport> {
  const transport = await rabbitMq(options).create(transportContext());
  await transport.start();
  return transport;
}

/** A connection of the test's own, to look at the broker from the other side. */
export class Observer {
  private constructor(
    readonly connection: ChannelModel,
    readonly channel: Channel,
  ) {}

  static async at(url: string): Promise<Observer> {
    const connection = await connect(url);
    // A broker that is killed on purpose must not end the test.
    connection.on('error', () => undefined);
    const channel = await connection.createChannel();
    channel.on('error', () => undefined);
    return new Observer(connection, channel);
  }

  /** A durable queue, bound to a topic exchange. */
  async queue(exchange: string, routingKey: string, name = '', options: object = {}): Promise<string> {
    await this.channel.assertExchange(exchange, 'topic');
    const { queue } = await this.channel.assertQueue(name, { durable: true, ...options });
    await this.channel.bindQueue(queue, exchange, routingKey);
    return queue;
  }

  /** Keeps what arrives. */
  async collect(queue: string): Promise<ConsumeMessage[]> {
    const messages: ConsumeMessage[] = [];
    await this.channel.consume(queue, (message) => messages.push(message!), { noAck: true });
    return messages;
  }

  async close(): Promise<void> {
    await this.connection.close().catch(() => undefined);
  }
}

export function idsOf(messages: readonly ConsumeMessage[]): string[] {
  return messages.map((message) => message.properties.messageId as string);
}
