import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { DeadLetters } from 'nestjs-outbox';
import { inProcess } from 'nestjs-outbox/in-process';

import { createTestDatabase, type TestDatabase } from '../support/shared-servers';
import { signal } from '../support/signal';
import { waitFor } from '../support/wait-for';
import { type Application, startApplication, statuses } from './application';

const handled: string[] = [];

@Injectable()
class Handlers {
  @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'cart.order-placed' })
  placed(order: { id: string }) {
    handled.push(order.id);
    if (order.id === 'poison') throw new Error('poison');
  }
}

/** The bug: the oldest row always fails, is always the first to be taken, and nothing behind it is ever sent. */
describe.each(['postgres', 'mysql'] as const)('a poisonous row on %s', (type) => {
  let database: TestDatabase;
  let publisher: Application;
  let relay: Application | undefined;

  beforeEach(async () => {
    handled.length = 0;
    database = await createTestDatabase(type);
    publisher = await startApplication({
      database,
      outbox: { role: 'publisher', transport: inProcess() },
    });
  });

  afterEach(async () => {
    await relay?.context.close();
    relay = undefined;
    await publisher.context.close();
    await database.drop();
  });

  /** The oldest of them in a transaction of its own. */
  async function publish(...ids: string[]): Promise<string> {
    const { outbox } = publisher;
    const [first] = ids
      .slice(0, 1)
      .map((id) => outbox.transaction(() => outbox.publish('order.placed', { id })));
    const firstId = (await first)!;
    await outbox.transaction(async () => {
      for (const id of ids.slice(1)) await outbox.publish('order.placed', { id });
    });
    return firstId;
  }

  it('that is always refused does not hold up those behind it, and ends as a dead letter', async () => {
    const others = ['a', 'b', 'c', 'd', 'e'];
    await publish('poison', ...others);
    const dead = signal('the alarm');
    relay = await startApplication({
      database,
      outbox: {
        role: 'relay',
        transport: inProcess({ concurrencyMax: 1 }),
        relay: { claimSizeMax: 1, inFlightMax: 1, intervalMs: 50, idleIntervalMaxMs: 50 },
        retry: { attemptsMax: 4, delayMs: 200, factor: 1, jitter: 0 },
        alarm: () => dead.fire(),
      },
      providers: [Handlers],
    });
    await dead.wait();
    await waitFor(async () => (await statuses(publisher)).sent === 5, { what: 'the others to be sent' });
    expect(handled.filter((id) => id === 'poison')).toHaveLength(4);
    // All the others had their turn while the first one backed off.
    expect(handled.slice(0, 6)).toEqual(['poison', ...others]);
    expect(await statuses(publisher)).toEqual({ sent: 5, dead_letter: 1 });
  });

  it('that cannot be read does not hold up those that were claimed with it, and ends as a dead letter', async () => {
    const poison = await publish('unreadable', 'a', 'b', 'c');
    await spoilHeaders(poison);
    const dead = signal('the alarm');
    relay = await startApplication({
      database,
      outbox: {
        role: 'relay',
        transport: inProcess(),
        relay: { leaseMs: 500, intervalMs: 50, idleIntervalMaxMs: 50, sweepIntervalMs: 100 },
        retry: { claimsMax: 2 },
        alarm: ({ error }) => {
          if (error !== '') dead.fire();
        },
      },
      providers: [Handlers],
    });
    await dead.wait();
    expect(handled).toEqual(['a', 'b', 'c']);
    expect(await statuses(publisher)).toEqual({ sent: 3, dead_letter: 1 });
    const { items } = await relay.context.get(DeadLetters).list();
    expect(items.map(({ id, headers }) => ({ id, headers }))).toEqual([{ id: poison, headers: {} }]);
  });

  /** As a script of somebody's may leave it: no object, and on MySQL not even JSON. */
  async function spoilHeaders(id: string): Promise<void> {
    const headers = type === 'postgres' ? 'null' : '{"trace": ';
    await publisher.dataSource.query(`UPDATE outbox_message SET headers = '${headers}' WHERE id = '${id}'`);
  }
});
