import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { inProcess } from 'nestjs-outbox/in-process';

import { createTestDatabase, type TestDatabase } from '../support/shared-servers';
import { deferred, signal } from '../support/signal';
import { waitFor } from '../support/wait-for';
import { type Application, startApplication, statuses } from './application';

const LEASE_MS = 1_000;

/** The bug: a lease ends while its message is still being sent, and another relay sends the message as well. */
describe.each(['postgres', 'mysql'] as const)('a send that is slower than a lease, on %s', (type) => {
  let database: TestDatabase;
  const apps: Application[] = [];
  let starts = 0;
  const started = signal('the handler to start');
  const done = deferred<void>();

  @Injectable()
  class Handlers {
    @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'cart.order-placed' })
    async placed() {
      starts += 1;
      started.fire();
      await done.promise;
    }
  }

  beforeAll(async () => {
    database = await createTestDatabase(type);
    // The first sends; only the second one looks into the table, and would find the row when its lease is over.
    for (const intervalMs of [60_000, 50]) {
      apps.push(
        await startApplication({
          database,
          outbox: {
            transport: inProcess(),
            relay: { leaseMs: LEASE_MS, intervalMs, idleIntervalMaxMs: intervalMs, listen: false },
          },
          providers: [Handlers],
        }),
      );
    }
  });

  afterAll(async () => {
    done.resolve();
    await Promise.all(apps.map(({ context }) => context.close()));
    await database?.drop();
  });

  /** How far beyond the birth of the only row its lease reaches by now. */
  async function leasedForMs(app: Application): Promise<number> {
    const [row] = await app.dataSource.query(
      type === 'postgres'
        ? 'SELECT extract(epoch FROM next_attempt_at - created_at) * 1000 AS ms FROM outbox_message'
        : 'SELECT TIMESTAMPDIFF(MICROSECOND, created_at, next_attempt_at) / 1000 AS ms FROM outbox_message',
    );
    return Number(row.ms);
  }

  it('keeps its lease to the end, and no other relay sends it too', async () => {
    const [first] = apps as [Application, Application];
    await first.outbox.transaction(() => first.outbox.publish('order.placed', { id: 'slow' }));
    await started.wait();
    await waitFor(async () => (await leasedForMs(first)) > 4 * LEASE_MS, { what: 'three leases to pass' });
    done.resolve();
    await waitFor(async () => (await statuses(first)).sent === 1, { what: 'the message to be sent' });
    expect(starts).toBe(1);
  });
});
