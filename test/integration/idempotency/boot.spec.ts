import { MessageHandlerErrorBehavior, RabbitRPC, RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable, type Provider, Scope } from '@nestjs/common';
import { type ConsumeMessage } from 'amqplib';
import { randomUUID } from 'node:crypto';
import { FailureQueueError, OutboxConfigurationError } from '../../../lib/core/errors';
import { Idempotent } from '../../../lib/decorators/idempotent.decorator';
import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { type ConsumerApp, type ConsumerAppOptions, startConsumerApp } from './consumer-app';
import { TestBroker } from './test-broker';

describe('an application with @Idempotent handlers', () => {
  let database: TestDatabase;
  let broker: TestBroker;
  let brokerUrl: string;
  let app: ConsumerApp | undefined;

  beforeAll(async () => {
    database = await createTestDatabase('postgres');
    brokerUrl = (await createVhost()).url;
    broker = await TestBroker.connect(brokerUrl);
  });

  afterEach(async () => {
    await app?.close();
    app = undefined;
  });

  afterAll(async () => {
    await broker?.close();
    await database?.drop();
  });

  const start = async (providers: Provider[], more: Partial<ConsumerAppOptions> = {}): Promise<ConsumerApp> =>
    (app = await startConsumerApp({ database, brokerUrl, providers, ...more }));
  const refusal = async (providers: Provider[]): Promise<unknown> => {
    try {
      await start(providers);
    } catch (error) {
      return error;
    }
    throw new Error('It started');
  };

  it('does not start when a consumer has no name', async () => {
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'a' })
      @Idempotent()
      async onNameless(): Promise<void> {}
    }
    const error = await refusal([Handlers]);
    expect(error).toBeInstanceOf(OutboxConfigurationError);
    expect(String(error)).toMatch(
      /Handlers\.onNameless.*no name for its inbox.*consumer: 'cart\.order-placed'/s,
    );
  });

  it('does not start when two queues share a consumer name', async () => {
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'a', queue: 'one' })
      @Idempotent({ consumer: 'both' })
      async onOne(): Promise<void> {}

      @RabbitSubscribe({ exchange: 'shop', routingKey: 'a', queue: 'two' })
      @Idempotent({ consumer: 'both' })
      async onTwo(): Promise<void> {}
    }
    const error = await refusal([Handlers]);
    expect(error).toBeInstanceOf(OutboxConfigurationError);
    expect(String(error)).toMatch(/Handlers\.onOne and Handlers\.onTwo.*same consumer name, both/s);
  });

  it('does not start when an RPC handler is decorated, or no handler at all', async () => {
    @Injectable()
    class Rpc {
      @RabbitRPC({ exchange: 'shop', routingKey: 'a', queue: 'rpc' })
      @Idempotent()
      async onCall(): Promise<void> {}
    }
    expect(String(await refusal([Rpc]))).toMatch(/Rpc\.onCall.*RPC/s);

    @Injectable()
    class Plain {
      @Idempotent({ consumer: 'plain' })
      async doIt(): Promise<void> {}
    }
    expect(String(await refusal([Plain]))).toMatch(/Plain\.doIt.*@RabbitSubscribe/s);
  });

  it('does not start when its class is request-scoped, for golevelup would never call it', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Scoped {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'a', queue: 'scoped' })
      @Idempotent()
      async onMessage(): Promise<void> {}
    }
    expect(String(await refusal([Scoped]))).toMatch(/Scoped\.onMessage.*request-scoped/s);
  });

  it('does not start when order cannot be kept', async () => {
    @Injectable()
    class Many {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'a', queue: 'many' })
      @Idempotent({ ordered: true })
      async onMessage(): Promise<void> {}
    }
    expect(String(await refusal([Many]))).toMatch(/Many\.onMessage.*prefetch is 10.*prefetchCount: 1/s);

    @Injectable()
    class Batch {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'a', queue: 'batch', batchOptions: { size: 5 } })
      @Idempotent({ ordered: true })
      async onMessages(): Promise<void> {}
    }
    expect(String(await refusal([Batch]))).toMatch(/Batch\.onMessages.*batch/s);
  });

  it('does not start when a queue in partitions cannot be in order', async () => {
    const channels = { ordered: { prefetchCount: 1 } };
    const refusalOf = async (subscribe: object, ordered: { partitions: number }): Promise<string> => {
      @Injectable()
      class Partitioned {
        @RabbitSubscribe({
          exchange: 'shop',
          routingKey: 'p',
          queueOptions: { channel: 'ordered' },
          ...subscribe,
        })
        @Idempotent({ ordered, consumer: 'partitioned' })
        async onMessage(): Promise<void> {}
      }
      return String(await start([Partitioned], { rabbit: { channels } }).catch((error: unknown) => error));
    };
    expect(await refusalOf({ queue: 'p' }, { partitions: 65 })).toMatch(
      /onMessage\.partitions: is 65; give.*1 to 64/s,
    );
    expect(await refusalOf({}, { partitions: 2 })).toMatch(/onMessage\.name: must be a name/);
    const errorHandler = () => undefined;
    expect(await refusalOf({ queue: 'p', errorHandler }, { partitions: 2 })).toMatch(
      /errorHandler of its own/,
    );
    expect(await refusalOf({ queue: 'p', exchange: 'nowhere' }, { partitions: 2 })).toMatch(
      /ordered queue p: is bound to nowhere, and the broker has no such exchange/,
    );
    await refusalOf({ queue: 'q' }, { partitions: 2 });
    expect(app).toBeDefined();
    await app?.close();
    app = undefined;
    expect(await refusalOf({ queue: 'q' }, { partitions: 4 })).toMatch(/ordered queue q: is there already/);
  });

  it('does not start when a retry queue exists with other arguments', async () => {
    await broker.declare('taken.retry.100', { durable: true, arguments: { 'x-message-ttl': 7 } });
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'a', queue: 'taken' })
      @Idempotent()
      async onMessage(): Promise<void> {}
    }
    const error = await refusal([Handlers]);
    expect(error).toBeInstanceOf(FailureQueueError);
    expect(String(error)).toMatch(/taken\.retry\.100.*other arguments.*Delete it/s);
  });

  it('takes the queue, and the consumer name, from the configuration of RabbitMQModule', async () => {
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ name: 'orders' })
      @Idempotent()
      async onMessage(): Promise<void> {
        throw new Error('Never');
      }
    }
    const handlers = { orders: { exchange: 'shop', routingKey: 'configured', queue: 'configured.orders' } };
    const { events } = await start([Handlers], { rabbit: { handlers } });
    const alarm = events.next('inbox.deadLetter');
    const id = await broker.publish('configured', {});
    expect(await alarm).toMatchObject({ consumer: 'configured.orders', messageKey: id, attempts: 3 });
    expect((await broker.take('configured.orders.dead')).properties.messageId).toBe(id);
  });

  it('retries in place what comes from one of several queues, because a message does not tell from which', async () => {
    @Injectable()
    class Handlers {
      static calls = 0;
      @RabbitSubscribe({ name: 'several' })
      @Idempotent({ consumer: 'several.consumer' })
      async onMessage(): Promise<void> {
        Handlers.calls += 1;
        throw new Error('Never');
      }
    }
    const queues = ['several.one', 'several.two'];
    const handlers = { several: queues.map((queue) => ({ exchange: 'shop', routingKey: queue, queue })) };
    const { events } = await start([Handlers], { rabbit: { handlers } });
    const alarm = events.next('inbox.deadLetter');
    const id = await broker.publish('several.two', {});
    expect(await alarm).toMatchObject({ consumer: 'several.consumer', messageKey: id, attempts: 3 });
    expect(Handlers.calls).toBe(3);
    expect((await broker.take('several.consumer.dead')).properties.messageId).toBe(id);
  });

  it('may be started again in one process, with other options', async () => {
    @Injectable()
    class Handlers {
      @RabbitSubscribe({
        exchange: 'shop',
        routingKey: 'again',
        queue: 'again',
        errorBehavior: MessageHandlerErrorBehavior.ACK,
      })
      @Idempotent()
      async onMessage(_payload: unknown, _message: ConsumeMessage): Promise<void> {
        throw new Error('Never');
      }
    }
    for (const attemptsMax of [1, 2]) {
      const { events, close } = await start([Handlers], { idempotency: { attemptsMax } });
      const alarm = events.next('inbox.deadLetter');
      const id = randomUUID();
      await broker.publish('again', {}, { messageId: id });
      expect(await alarm).toMatchObject({ messageKey: id, attempts: attemptsMax });
      await close();
      app = undefined;
    }
  });
});
