import { rabbitMq } from 'nestjs-outbox/rabbitmq';

import { Observer, idsOf } from '../integration/transports/rabbitmq.fixtures';
import { createTestDatabase, createVhost, type TestDatabase } from '../support/shared-servers';
import { PATIENCE } from '../support/patience';
import { type TcpProxy, startTcpProxy } from '../support/tcp-proxy';
import { waitFor } from '../support/wait-for';
import { type Application, startApplication, statuses } from './application';

const LEASE_MS = 60_000;

/**
 * The bug: an application that shuts down in the middle of a batch loses what it has claimed and not sent, or leaves it
 * for a whole lease; or it hangs, because the broker never confirms.
 */
describe.each(['postgres', 'mysql'] as const)('shutdown in the middle of a batch, on %s', (type) => {
  let database: TestDatabase;
  let observer: Observer;
  let proxy: TcpProxy;
  let brokerUrl: string;
  const apps: Application[] = [];

  beforeAll(async () => {
    database = await createTestDatabase(type);
    brokerUrl = (await createVhost()).url;
    observer = await Observer.at(brokerUrl);
    proxy = await startTcpProxy({ target: brokerUrl });
  });

  afterAll(async () => {
    proxy?.close();
    await Promise.all(apps.map(({ context }) => context.close()));
    await observer?.close();
    await database?.drop();
  });

  async function start(uri: string): Promise<Application> {
    const app = await startApplication({
      database,
      outbox: {
        transport: rabbitMq({ exchange: 'shop', uri, sendTimeoutMs: 30_000 }),
        relay: {
          leaseMs: LEASE_MS,
          shutdownTimeoutMs: 500,
          inFlightMax: 10,
          claimSizeMax: 10,
          intervalMs: 50,
        },
      },
    });
    apps.push(app);
    return app;
  }

  const publish = (app: Application, count: number): Promise<string[]> =>
    app.outbox.transaction(() =>
      app.outbox.publishAll(
        Array.from({ length: count }, (_, n) => ({ type: 'order.placed', payload: { n } })),
      ),
    );

  it('writes down what was confirmed, and gives the rest back at once', async () => {
    const queue = await observer.queue('shop', '#', 'shutdown');
    const first = await start(proxy.url(brokerUrl));
    const sent = await publish(first, 20);
    await first.relay.flush();
    proxy.stall();
    const stuck = await publish(first, 30);
    await waitFor(async () => (await first.relay.stats()).inFlight === 30, {
      what: 'the batch to be under way',
    });
    const closing = performance.now();
    await first.context.close();
    apps.length = 0;
    expect(performance.now() - closing).toBeLessThan(10_000 * PATIENCE);
    proxy.cut();

    const second = await start(brokerUrl);
    await second.relay.flush({ timeoutMs: LEASE_MS / 6 });
    expect(await statuses(second)).toEqual({ sent: 50 });
    const arrived = await observer.collect(queue);
    await waitFor(() => arrived.length >= 50, { what: 'all messages' });
    expect(idsOf(arrived).sort()).toEqual([...sent, ...stuck].sort());
  }, 40_000);
});
