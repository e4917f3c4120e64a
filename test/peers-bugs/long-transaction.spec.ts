import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { inProcess } from 'nestjs-outbox/in-process';

import { createTestDatabase, type TestDatabase } from '../support/shared-servers';
import { deferred, signal } from '../support/signal';
import { type Application, startApplication } from './application';

const LEASE_MS = 1_000;

/**
 * The bug: a lease that counts from the transaction's begin (PostgreSQL's `now()`), or from a publish long before the
 * commit, is over when the transaction commits; so another relay sends what the fast path is just sending.
 */
describe.each(['postgres', 'mysql'] as const)('a transaction longer than a lease, on %s', (type) => {
  let database: TestDatabase;
  let app: Application;
  const started = signal('the handler to start');
  const done = deferred<void>();

  @Injectable()
  class Handlers {
    @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'cart.order-placed' })
    async placed() {
      started.fire();
      await done.promise;
    }
  }

  beforeAll(async () => {
    database = await createTestDatabase(type);
    app = await startApplication({
      database,
      outbox: { transport: inProcess(), relay: { leaseMs: LEASE_MS } },
      providers: [Handlers],
    });
  });

  afterAll(async () => {
    done.resolve();
    await app?.context.close();
    await database?.drop();
  });

  it('bears its message with a whole lease at its commit', async () => {
    const clock = type === 'postgres' ? 'clock_timestamp()::text' : 'CAST(UTC_TIMESTAMP(6) AS char)';
    const workEndedAt = await app.dataSource.transaction(async (manager) => {
      await app.outbox.publish('order.placed', { id: 'late' }, { manager });
      // The work that takes so long, in the database's own time.
      await manager.query(type === 'postgres' ? 'SELECT pg_sleep(1.5)' : 'SELECT SLEEP(1.5)');
      const [row] = await manager.query<{ now: string }[]>(`SELECT ${clock} AS now`);
      return row?.now;
    });
    const lease =
      type === 'postgres'
        ? `'${workEndedAt}'::timestamptz + ${LEASE_MS} * interval '1 millisecond'`
        : `CAST('${workEndedAt}' AS datetime(6)) + INTERVAL ${LEASE_MS * 1_000} MICROSECOND`;
    const rows = await app.dataSource.query(
      `SELECT claims, next_attempt_at >= ${lease} AS leased FROM outbox_message`,
    );
    expect(
      rows.map((row: object) => ({ ...row, leased: Boolean((row as { leased: unknown }).leased) })),
    ).toEqual([{ claims: 1, leased: true }]);
    // Straight from memory: no claim was needed.
    await started.wait(LEASE_MS);
  });
});
