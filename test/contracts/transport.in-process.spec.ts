import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { DiscoveryModule } from '@nestjs/core';
import { Injectable, Logger } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { ConsumeMessage } from 'amqplib';
import { inProcess } from 'nestjs-outbox/in-process';
import { transportContract } from './transport.contract';
import { applicationContext } from './transport.fixtures';

@Injectable()
class Everything {
  readonly arrived: string[] = [];

  @RabbitSubscribe({
    exchange: 'shop',
    routingKey: '#',
    queue: 'everything',
    deserializer: (content) => content,
  })
  handle(_content: Buffer, message: ConsumeMessage) {
    this.arrived.push(message.properties.messageId as string);
  }
}

describe('Transport contract: in-process', () => {
  beforeAll(() => {
    Logger.overrideLogger(false);
  });

  transportContract(false, async () => {
    const application = await Test.createTestingModule({
      imports: [DiscoveryModule],
      providers: [Everything],
    }).compile();
    const definition = inProcess({ exchange: 'shop' });
    return {
      transport: await definition.create(applicationContext(application)),
      message: { destination: definition.destinationOf('order.placed', undefined) },
      arrived: application.get(Everything).arrived,
      network: null,
      close: () => application.close(),
    };
  });
});
