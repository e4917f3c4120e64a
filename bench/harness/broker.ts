import { connect } from 'amqplib';

import { EXCHANGE, QUEUE } from './names';

/** The benchmarks' own view of the broker. */
export interface Broker {
  readonly url: string;
  readonly pid: number;
  /** Name and version, as it says itself. */
  readonly version: string;
  /** Empties the queue. */
  purge(): Promise<void>;
  count(): Promise<number>;
  close(): Promise<void>;
}

export async function openBroker(url: string, pid: number): Promise<Broker> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  await channel.assertExchange(EXCHANGE, 'topic', { durable: true });
  await channel.assertQueue(QUEUE, { durable: true });
  await channel.bindQueue(QUEUE, EXCHANGE, '#');
  const { product, version } = connection.connection.serverProperties;
  return {
    url,
    pid,
    version: `${product} ${version}`,
    purge: async () => void (await channel.purgeQueue(QUEUE)),
    count: async () => (await channel.checkQueue(QUEUE)).messageCount,
    close: () => connection.close(),
  };
}
