import { Logger } from '@nestjs/common';
import { type ChannelModel, connect } from 'amqplib';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';
import { createVhost } from '../support/shared-servers';
import { type TcpProxy, startTcpProxy } from '../support/tcp-proxy';
import { transportContract } from './transport.contract';
import { transportContext } from './transport.fixtures';

describe('Transport contract: RabbitMQ', () => {
  let url: string;

  beforeAll(async () => {
    Logger.overrideLogger(false);
    ({ url } = await createVhost());
  });

  transportContract(true, async () => {
    const proxy = await startTcpProxy({ target: url });
    const consumer = await connect(url);
    const arrived = await collect(consumer);
    const definition = rabbitMq({
      exchange: 'shop',
      uri: proxy.url(url),
      declareExchange: true,
      sendTimeoutMs: 2_000,
      connectTimeoutMs: 1_000,
      reconnectDelayMaxMs: 200,
    });
    return {
      transport: await definition.create(transportContext()),
      message: { destination: definition.destinationOf('order.placed', undefined) },
      arrived,
      network: networkOf(proxy),
      async close() {
        proxy.close();
        await consumer.close();
      },
    };
  });
});

async function collect(consumer: ChannelModel): Promise<string[]> {
  const arrived: string[] = [];
  const channel = await consumer.createChannel();
  await channel.assertExchange('shop', 'topic');
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, 'shop', '#');
  await channel.consume(queue, (message) => arrived.push(message!.properties.messageId as string), {
    noAck: true,
  });
  return arrived;
}

function networkOf(proxy: TcpProxy) {
  return {
    async goAway() {
      proxy.refuse();
      proxy.cut();
    },
    comeBack: () => proxy.accept(),
    stall: () => {
      proxy.stall('toServer');
    },
    resume: () => {
      proxy.resume();
    },
  };
}
