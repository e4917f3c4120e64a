import {
  AmqpConnection,
  RabbitMQModule,
  RabbitSubscribe,
  type RabbitMQConfig,
} from '@golevelup/nestjs-rabbitmq';
import { Injectable, Logger } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { Test, type TestingModule } from '@nestjs/testing';
import type { ConsumeMessage } from 'amqplib';
import { inProcess } from 'nestjs-outbox/in-process';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';
import type { Transport, TransportDefinition } from '../../../lib/core/transport.port';
import { Outcomes, applicationContext, claimedMessage } from '../../contracts/transport.fixtures';
import { createVhost } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';

@Injectable()
class Handlers {
  readonly got: string[] = [];

  @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'cart' })
  placed(_payload: unknown, { properties }: ConsumeMessage) {
    this.got.push(properties.messageId as string);
  }

  @RabbitSubscribe({ name: 'configured' })
  configured(_payload: unknown, { properties }: ConsumeMessage) {
    this.got.push(`configured ${properties.messageId}`);
  }
}

describe('Transports beside RabbitMQModule', () => {
  let url: string;
  let application: TestingModule;
  let transport: Transport | undefined;
  let outcomes: Outcomes;

  const start = async (definition: TransportDefinition, config: Partial<RabbitMQConfig> = {}) => {
    application = await Test.createTestingModule({
      imports: [
        DiscoveryModule,
        RabbitMQModule.forRoot({
          uri: url,
          exchanges: [{ name: 'shop', type: 'direct' }],
          handlers: { configured: { exchange: 'shop', routingKey: 'configured', queue: 'configured' } },
          ...config,
        }),
      ],
      providers: [Handlers],
    })
      .setLogger(false as never)
      .compile();
    Logger.overrideLogger(false);
    await application.init();
    transport = await definition.create(applicationContext(application));
    await transport.start();
    outcomes = new Outcomes(transport);
  };

  beforeEach(async () => {
    ({ url } = await createVhost());
  });

  afterEach(async () => {
    await transport?.stop();
    transport = undefined;
    await application?.close();
  });

  it('sends to the module’s broker, over a connection of its own', async () => {
    await start(rabbitMq({ exchange: 'shop' }));
    const { got } = application.get(Handlers);
    const { id } = await waitFor(async () => {
      const message = claimedMessage();
      await outcomes.sendAndSettle([message]);
      return outcomes.of(message).kind === 'confirmed' && message;
    });
    await waitFor(() => got.includes(id));
    await application.get(AmqpConnection).managedConnection.close();
    expect(await transport!.probe()).toBe(true);
  });

  it('declares the exchange as the module’s configuration does', async () => {
    const definition = rabbitMq({ exchange: 'late', declareExchange: true, exchangeType: 'fanout' });
    await start(definition, { exchanges: ['shop', 'late'].map((name) => ({ name, type: 'direct' })) });
    const { channel } = application.get(AmqpConnection);
    await channel.deleteExchange('late');
    await transport!.stop();
    transport = await definition.create(applicationContext(application));
    await transport.start();
    await channel.checkExchange('late');
    await channel.assertExchange('late', 'direct');
  });

  it('takes the address of a connection by its name', async () => {
    await start(rabbitMq({ exchange: 'shop', connectionName: 'second' }), { name: 'second' });
    expect(await transport!.probe()).toBe(true);
    const unknown = rabbitMq({ exchange: 'shop', connectionName: 'third' });
    expect(() => unknown.create(applicationContext(application))).toThrow(/no connection of that name/);
  });

  it('delivers in-process once, by the module’s configuration, and nothing over the broker', async () => {
    await start(inProcess({ exchange: 'shop' }));
    const { got } = application.get(Handlers);
    const [placed, wild, configured] = [
      claimedMessage(),
      claimedMessage({ type: 'order.*' }),
      claimedMessage({ type: 'configured' }),
    ];
    await outcomes.sendAndSettle([placed, wild, configured]);
    const { channel } = application.get(AmqpConnection);
    await waitFor(async () => (await channel.checkQueue('cart')).messageCount === 0);
    expect(got).toEqual([placed.id, `configured ${configured.id}`]);
  });
});
