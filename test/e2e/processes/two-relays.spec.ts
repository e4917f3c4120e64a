import { type RabbitMqServer, startRabbitMq } from '../../support/rabbitmq-server';
import { createTestDatabase, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { AppChild } from './app-child';
import { Ledger } from './ledger';
import type { ProcessTask } from './process-task';

const names = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}`);

describe.each(['postgres', 'mysql'] as const)(
  'two relays in two processes on one database, on %s',
  (type) => {
    let broker: RabbitMqServer;
    let database: TestDatabase;
    let ledger: Ledger;
    let publisher: AppChild;
    let consumer: AppChild;
    let relays: AppChild[];

    beforeAll(async () => {
      [broker, database] = await Promise.all([startRabbitMq(), createTestDatabase(type)]);
      const task: Omit<ProcessTask, 'role' | 'consumes'> = {
        database: { type, url: database.url },
        rabbitMqUrl: broker.url,
        killAt: null,
        leaseMs: 6_000,
      };
      publisher = await AppChild.start({ ...task, role: 'publisher', consumes: false });
      consumer = await AppChild.start({ ...task, role: 'consumer', consumes: true });
      relays = await Promise.all([
        AppChild.start({ ...task, role: 'relay', consumes: false }),
        AppChild.start({ ...task, role: 'relay', consumes: false }),
      ]);
      ledger = await Ledger.open(database);
    }, 90_000);

    afterAll(async () => {
      await Promise.all([publisher, consumer, ...relays].map((app) => app?.close()));
      await ledger?.close();
      await database?.drop();
      await broker?.stop();
    }, 30_000);

    const effects = async (customerId: string): Promise<number> => (await ledger.count(customerId)).effects;
    const sentInAll = async (): Promise<number> => {
      const counts = await Promise.all(relays.map((relay) => relay.run({ do: 'stats' })));
      return counts.reduce((total, { sentHere = 0 }) => total + sentHere, 0);
    };

    it('share the work and send nothing twice in steady state', async () => {
      for (const customerId of names('steady', 10)) await ledger.addCart(customerId);
      await Promise.all(
        names('steady', 10).map((customerId) =>
          publisher.run({ do: 'place', ids: names(customerId, 20), customerId }),
        ),
      );
      for (const customerId of names('steady', 10)) {
        await waitFor(async () => (await effects(customerId)) === 20, {
          timeoutMs: 20_000,
          what: `the orders of ${customerId}`,
        });
      }
      await waitFor(async () => (await ledger.statuses()).sent === 200, {
        what: 'everything to be written down',
      });
      // A relay tells of it a little after the table does.
      const sent = await waitFor(async () => {
        const count = await sentInAll();
        return count >= 200 && count;
      });
      expect(sent).toBe(200);
    }, 60_000);

    it('lose nothing and burn no attempt while RabbitMQ is killed and restarted under load', async () => {
      for (const customerId of names('outage', 10)) await ledger.addCart(customerId);
      const place = (round: number): Promise<unknown> =>
        Promise.all(
          names('outage', 10).map((customerId) =>
            publisher.run({ do: 'place', ids: names(`${customerId}-${round}`, 10), customerId }),
          ),
        );
      await broker.syncTopology();
      const first = place(1);
      await broker.kill();
      await first;
      await place(2);
      await broker.restart();
      await place(3);
      for (const customerId of names('outage', 10)) {
        await waitFor(async () => (await effects(customerId)) === 30, {
          timeoutMs: 40_000,
          what: `the orders of ${customerId}`,
        });
      }
      await waitFor(async () => (await ledger.statuses()).sent === 500, {
        timeoutMs: 20_000,
        what: 'everything to be written down',
      });
      expect(await ledger.statuses()).toEqual({ sent: 500 });
      for (const customerId of names('outage', 10))
        expect(await ledger.count(customerId)).toEqual({ orders: 30, effects: 30 });
      expect(await ledger.attemptsSpent()).toBe(0);
    }, 120_000);
  },
);
