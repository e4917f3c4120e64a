import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { type Codec, Idempotent, type OutboxEventMap, type OutboxModuleOptions } from 'nestjs-outbox';
import { inProcess } from 'nestjs-outbox/in-process';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';

import { createTestDatabase, createVhost, type TestDatabase } from '../support/shared-servers';
import { deferred } from '../support/signal';
import { type Application, startApplication } from './application';

type Alarmed = Parameters<NonNullable<OutboxModuleOptions['alarm']>>[0];

const handled: unknown[] = [];

@Injectable()
class Handlers {
  @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'cart.order-placed' })
  @Idempotent()
  placed(order: unknown) {
    handled.push(order);
  }
}

/** A codec of the application's that is broken: nobody can read what it writes. */
const broken: Codec = {
  encode: () => ({
    payload: Buffer.from('{"id": '),
    contentType: 'application/json',
    contentEncoding: null,
  }),
};

/** The bug: reading the payload fails ahead of the code that counts failures, so its callback never hears of it. */
describe('a payload that cannot be read', () => {
  let database: TestDatabase;
  let app: Application | undefined;

  beforeEach(async () => {
    handled.length = 0;
    database = await createTestDatabase('postgres');
  });

  afterEach(async () => {
    await app?.context.close();
    await database.drop();
  });

  async function alarmOf(
    outbox: OutboxModuleOptions,
    rabbitMqUrl?: string,
  ): Promise<{ id: string; alarmed: Alarmed }> {
    const alarm = deferred<Alarmed>();
    app = await startApplication({
      database,
      outbox: { ...outbox, codec: broken, alarm: (event) => alarm.resolve(event) },
      providers: [Handlers],
      ...(rabbitMqUrl === undefined ? {} : { rabbitMqUrl }),
    });
    const { outbox: out } = app;
    const id = await out.transaction(() => out.publish('order.placed', { id: 'order-1' }));
    return { id, alarmed: await alarm.promise };
  }

  it('rings the alarm of its consumer on RabbitMQ, after its retries', async () => {
    const { id, alarmed } = await alarmOf(
      { transport: rabbitMq({ exchange: 'shop' }), idempotency: { attemptsMax: 2, retryDelaysMs: [50] } },
      (await createVhost()).url,
    );
    expect(alarmed).toEqual({
      consumer: 'cart.order-placed',
      messageKey: id,
      attempts: 2,
      error: expect.stringContaining('JSON') as string,
    } satisfies OutboxEventMap['inbox.deadLetter']);
    expect(handled).toEqual([]);
  });

  it('rings the alarm of its sender in process, at once: no retry would help', async () => {
    const { id, alarmed } = await alarmOf({
      transport: inProcess(),
      relay: { intervalMs: 50 },
    });
    expect(alarmed).toMatchObject({
      id,
      type: 'order.placed',
      attempts: 1,
      error: expect.stringContaining('JSON'),
    });
    expect(handled).toEqual([]);
  });
});
