import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { Idempotent } from 'nestjs-outbox';
import { inProcess } from 'nestjs-outbox/in-process';

import { createTestDatabase, type TestDatabase } from '../support/shared-servers';
import { type Application, startApplication, statuses } from './application';

/**
 * The bug: after the commit, and still inside the hook, the fast path asks the pool for a connection to mark the row; the
 * committing transaction holds the only one and waits for the hook.
 */
describe.each(['postgres', 'mysql'] as const)('a pool of one connection on %s', (type) => {
  let database: TestDatabase;
  let app: Application;
  const handled: string[] = [];

  @Injectable()
  class Handlers {
    @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'cart.order-placed' })
    @Idempotent()
    placed(order: { id: string }) {
      handled.push(order.id);
    }
  }

  beforeAll(async () => {
    database = await createTestDatabase(type);
    app = await startApplication({
      database,
      poolSize: 1,
      outbox: { transport: inProcess() },
      providers: [Handlers],
    });
  });

  afterAll(async () => {
    await app?.context.close();
    await database?.drop();
  });

  it('publishes, sends, handles and writes down with it', async () => {
    const ids = Array.from({ length: 20 }, (_, index) => `order-${index}`);
    await Promise.all(
      ids.map((id) => app.outbox.transaction(() => app.outbox.publish('order.placed', { id }))),
    );
    await app.relay.flush({ timeoutMs: 10_000 });
    expect([...handled].sort()).toEqual([...ids].sort());
    expect(await statuses(app)).toEqual({ sent: 20 });
  }, 20_000);
});
