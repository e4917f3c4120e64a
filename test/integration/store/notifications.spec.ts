import { createStores, type Stores } from '../../../lib/store/create-stores';
import { outboxMigrations } from '../../../lib/store/migrations';
import { openStores, type StoreFixture } from '../../contracts/outbox-store.harness';
import { waitFor } from '../../support/wait-for';

describe('NOTIFY on PostgreSQL', () => {
  let fixture: StoreFixture;
  let elsewhere: Stores;
  beforeEach(async () => {
    fixture = await openStores('postgres');
    elsewhere = createStores({ dataSource: fixture.dataSource });
  });
  afterEach(async () => {
    await elsewhere.close();
    await fixture.drop();
  });

  const notified = (): { listener: () => void; count: () => number } => {
    let count = 0;
    return { listener: () => (count += 1), count: () => count };
  };
  const listeners = async (): Promise<number[]> => {
    const rows = (await fixture.query(
      `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'`,
    )) as { pid: number }[];
    return rows.map(({ pid }) => pid);
  };

  it('wakes who listens in another process, and only on the same tables', async () => {
    const [{ outbox }, other] = [
      fixture.stores,
      createStores({ dataSource: fixture.dataSource, tables: { prefix: 'x_' } }),
    ];
    for (const Migration of outboxMigrations({ prefix: 'x_' })) {
      const runner = fixture.dataSource.createQueryRunner();
      await new Migration().up(runner);
      await runner.release();
    }
    expect(outbox.canNotify).toBe(true);
    const [here, there] = [notified(), notified()];
    await outbox.listen(here.listener);
    await other.outbox.listen(there.listener);
    await elsewhere.outbox.notify();
    await waitFor(() => here.count() === 1);
    await other.outbox.notify();
    await waitFor(() => there.count() === 1);
    expect(here.count()).toBe(1);
    await other.close();
  });

  it('stops, and leaves its connection fit for others', async () => {
    const here = notified();
    const stop = await fixture.stores.outbox.listen(here.listener);
    await stop();
    await elsewhere.outbox.notify();
    const rows = await fixture.query(`SELECT count(*)::int AS count FROM pg_listening_channels()`);
    expect(rows).toEqual([{ count: 0 }]);
    expect(await listeners()).toEqual([]);
    for (let n = 0; n < 5; n += 1) await fixture.stores.outbox.stats();
    expect(here.count()).toBe(0);
  });

  it('listens again when its connection is lost, and calls back for what it may have missed', async () => {
    const here = notified();
    await fixture.stores.outbox.listen(here.listener);
    const [pid] = await waitFor(async () => {
      const pids = await listeners();
      return pids.length === 1 && pids;
    });
    await fixture.query(`SELECT pg_terminate_backend(${String(pid)})`);
    await waitFor(() => here.count() === 1, { what: 'the call after it listens again' });
    await elsewhere.outbox.notify();
    await waitFor(() => here.count() === 2, { what: 'the notification' });
  });

  it('is stopped by close, listening or trying to', async () => {
    await fixture.stores.outbox.listen(() => undefined);
    const [pid] = await listeners();
    await fixture.query(`SELECT pg_terminate_backend(${String(pid)})`);
    await fixture.stores.outbox.close();
    await waitFor(async () => (await listeners()).length === 0);
  });

  it('leaves the connections that were asked for to the relay', async () => {
    const narrow = createStores({ dataSource: fixture.dataSource, connections: 1 });
    await narrow.outbox.listen(() => undefined);
    expect((await narrow.outbox.stats()).pending).toBe(0);
    await narrow.close();
  });
});

describe('NOTIFY on MariaDB', () => {
  it('is not there', async () => {
    const fixture = await openStores('mysql');
    const { outbox } = fixture.stores;
    expect(outbox.canNotify).toBe(false);
    await expect(outbox.notify()).rejects.toThrow(/canNotify/);
    await expect(outbox.listen(() => undefined)).rejects.toThrow(/canNotify/);
    await fixture.drop();
  });
});
