import { type AbstractLogger, DataSource } from 'typeorm';
import { RelayDataSource } from '../../../lib/store/relay-data-source';
import {
  born,
  message,
  openStores,
  type StoreFixture,
  terms,
  waitsForLock,
} from '../../contracts/outbox-store.harness';

describe.each(['postgres', 'mysql'] as const)("The store's own connections to %s", (type) => {
  let fixture: StoreFixture;
  const open: { close(): Promise<void> }[] = [];
  beforeAll(async () => {
    fixture = await openStores(type);
  });
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
    await fixture.clear();
  });
  afterAll(() => fixture?.drop());

  function relay(dataSource = fixture.dataSource, connections = 2): RelayDataSource {
    const made = new RelayDataSource(dataSource, connections);
    open.push(made);
    return made;
  }
  async function application(more: object): Promise<DataSource> {
    const dataSource = await new DataSource({ type, url: fixture.database.url, ...more }).initialize();
    open.push({ close: () => dataSource.destroy() });
    return dataSource;
  }
  const isolationNow =
    type === 'postgres'
      ? `SELECT current_setting('transaction_isolation') AS now`
      : `SELECT @@tx_isolation AS now`;
  const readCommitted = [{ now: type === 'postgres' ? 'read committed' : 'READ-COMMITTED' }];

  it('run READ COMMITTED, whatever the application does', async () => {
    const own = relay(await application({ isolationLevel: 'SERIALIZABLE' }));
    expect(await own.query(isolationNow)).toEqual(readCommitted);
    expect(await own.transaction((statements) => statements.query(isolationNow))).toEqual(readCommitted);
    expect(await Promise.all([1, 2, 3, 4].map(() => own.query(isolationNow)))).toEqual(
      Array(4).fill(readCommitted),
    );
  });

  if (type === 'postgres') {
    it("run so even where the database's default is another, and leave that as it is", async () => {
      await fixture.query(
        `ALTER DATABASE "${fixture.database.name}" SET default_transaction_isolation = 'serializable'`,
      );
      const strict = await application({});
      const own = relay(strict, 1);
      expect(await own.query(isolationNow)).toEqual(readCommitted);
      expect(await own.query('SHOW default_transaction_isolation')).toEqual([
        { default_transaction_isolation: 'serializable' },
      ]);
      await fixture.query(`ALTER DATABASE "${fixture.database.name}" RESET default_transaction_isolation`);
    });
  }

  it('take no locks that an insert would wait for, while a claim is open', async () => {
    await fixture.publish(Array.from({ length: 10 }, () => message()));
    const now = type === 'postgres' ? 'statement_timestamp()' : 'UTC_TIMESTAMP(6)';
    const suffix = type === 'postgres' ? '' : 'FORCE INDEX (due)';
    await relay().transaction(async (statements) => {
      await statements.query(
        `SELECT id FROM ${fixture.names.message} ${suffix} WHERE status = 'pending' AND transport = 'default' AND next_attempt_at <= ${now}
         ORDER BY next_attempt_at LIMIT 50 FOR UPDATE SKIP LOCKED`,
      );
      const publishing = fixture.publish([message(), message({ delayMs: 1 })]);
      expect(await waitsForLock(fixture, publishing)).toBe(false);
      await publishing;
    });
  });

  it("are not the application's: its pool of one, and all taken, keeps the relay from nothing", async () => {
    const dataSource = await application({ poolSize: 1, extra: { max: 1, connectionLimit: 1 } });
    const runner = dataSource.createQueryRunner();
    await runner.connect();
    const own = relay(dataSource, 2);
    await own.transaction(async () => {
      expect(await own.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    });
    await runner.release();
  });

  it('are no more than they may be', async () => {
    const own = relay(fixture.dataSource, 2);
    const ids = await Promise.all(
      Array.from({ length: 8 }, () =>
        own.query(
          type === 'postgres'
            ? 'SELECT pg_backend_pid() AS id, pg_sleep(0.05)'
            : 'SELECT CONNECTION_ID() AS id, SLEEP(0.05)',
        ),
      ),
    );
    expect(new Set(ids.map((rows) => (rows as { id: number }[])[0]?.id)).size).toBe(2);
  });

  it('tell no logger of payloads', async () => {
    const logger = { logQuery: jest.fn(), logQueryError: jest.fn(), logQuerySlow: jest.fn(), log: jest.fn() };
    const dataSource = await application({
      logging: 'all',
      logger: logger as unknown as AbstractLogger,
      maxQueryExecutionTime: 1,
    });
    logger.logQuery.mockClear();
    const own = relay(dataSource);
    await expect(own.query('SELECT nonsense')).rejects.toThrow(/nonsense/);
    expect(logger.logQuery).not.toHaveBeenCalled();
    expect(logger.logQueryError).not.toHaveBeenCalled();
  });

  it('try to open again when the database was away', async () => {
    const own = relay(
      new DataSource({ ...fixture.dataSource.options, url: undefined, host: '127.0.0.1', port: 1 } as never),
    );
    await expect(own.query('SELECT 1')).rejects.toThrow();
    await expect(own.query('SELECT 1')).rejects.toThrow(/ECONNREFUSED/);
  });

  it('survive being cut off by the server', async () => {
    const own = relay(fixture.dataSource, 1);
    const id = async (): Promise<unknown> =>
      (
        (await own.query(
          type === 'postgres' ? 'SELECT pg_backend_pid() AS id' : 'SELECT CONNECTION_ID() AS id',
        )) as { id: unknown }[]
      )[0]?.id;
    const first = await id();
    await fixture.query(
      type === 'postgres' ? `SELECT pg_terminate_backend(${String(first)})` : `KILL ${String(first)}`,
    );
    const again = async (): Promise<unknown> => id().catch(again);
    expect(await again()).not.toBe(first);
    if (type === 'mysql') expect(await own.query(isolationNow)).toEqual(readCommitted);
  });

  it("count all times by the server's clock, whatever time zone a session is in", async () => {
    const elsewhere = await application(
      type === 'postgres' ? { extra: { options: '-c TimeZone=Asia/Tokyo' } } : { timezone: '+09:00' },
    );
    const runner = elsewhere.createQueryRunner();
    if (type === 'mysql') await runner.query(`SET time_zone = '-08:00'`);
    await runner.startTransaction();
    await fixture.stores.outbox.write(runner, [message(), message({ delayMs: 60_000 })], born());
    await runner.commitTransaction();
    if (type === 'mysql') await runner.query('SET time_zone = DEFAULT');
    await runner.release();
    expect(await fixture.stores.outbox.stats()).toMatchObject({ pending: 2, due: 1 });
    expect((await fixture.stores.outbox.stats()).oldestUnsentMs).toBeLessThan(30_000);
    const [claimed] = await fixture.stores.outbox.claim(['default'], 9, terms());
    expect(Math.abs((claimed?.createdAt.getTime() ?? 0) - Date.now())).toBeLessThan(30_000);
  });
});
