import { randomUUID } from 'node:crypto';
import { createServer, connect, type AddressInfo } from 'node:net';
import { DataSource } from 'typeorm';
import { hotStatement } from '../../../lib/store/hot-statement';
import { createStores } from '../../../lib/store/create-stores';
import type { PreparedStatements } from '../../../lib/store/prepared-statements';
import { RelayDataSource } from '../../../lib/store/relay-data-source';
import { message, openStores, type StoreFixture, terms } from '../../contracts/outbox-store.harness';

describe('Named statements of the store on PostgreSQL', () => {
  let fixture: StoreFixture;
  const open: { close(): Promise<void> }[] = [];
  beforeAll(async () => {
    fixture = await openStores('postgres');
  });
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
    await fixture.clear();
  });
  afterAll(() => fixture?.drop());

  const keep = <T extends { close(): Promise<void> }>(one: T): T => {
    open.push(one);
    return one;
  };
  const relay = (dataSource = fixture.dataSource, prepared?: PreparedStatements): RelayDataSource =>
    keep(new RelayDataSource(dataSource, 1, prepared));
  const namesOn = async (own: RelayDataSource): Promise<string[]> =>
    ((await own.query('SELECT name FROM pg_prepared_statements')) as { name: string }[]).map(
      ({ name }) => name,
    );
  const twice = hotStatement('SELECT $1::int * 2 AS twice');

  it('are kept by the server, and answer as the others do', async () => {
    const own = relay();
    expect(own.preparesStatements).toBe(false);
    expect(await own.execute(twice([21]))).toEqual([{ twice: 42 }]);
    expect(own.preparesStatements).toBe(true);
    expect(await namesOn(own)).toEqual([twice([]).name]);

    await own.query('CREATE TEMPORARY TABLE things AS SELECT * FROM generate_series(1, 3) AS n');
    for (const sql of [
      'UPDATE things SET n = n + 1 WHERE n > $1 RETURNING n',
      'WITH one AS (SELECT $1::int AS n) UPDATE things SET n = 1 FROM one WHERE things.n > one.n',
      'DELETE FROM things WHERE n > $1 RETURNING n',
      'INSERT INTO things VALUES ($1) RETURNING n',
    ]) {
      await own.query('BEGIN');
      const usual = await own.query(sql, [1]);
      await own.query('ROLLBACK');
      expect(await own.execute(hotStatement(sql)([1]))).toEqual(usual);
    }
    await expect(own.execute(hotStatement('SELECT 1 / $1::int')([0]))).rejects.toMatchObject({
      code: '22012',
    });
  });

  it('are planned once, however many ids they are about', async () => {
    const own = relay();
    const read = hotStatement(`SELECT id FROM ${fixture.names.message} WHERE id = ANY ($1::uuid[])`);
    for (let round = 0; round < 12; round += 1) {
      await own.execute(read([Array.from({ length: 125 }, () => randomUUID())]));
    }
    expect(
      await own.query('SELECT generic_plans::int, custom_plans::int FROM pg_prepared_statements'),
    ).toEqual([{ generic_plans: 12, custom_plans: 0 }]);
  });

  it('have names that are made of their text', () => {
    expect(hotStatement('SELECT 1')([]).name).toBe(hotStatement('SELECT 1')([]).name);
    expect(hotStatement('SELECT 1')([]).name).not.toBe(hotStatement('SELECT 2')([]).name);
    expect(hotStatement('SELECT 1')([]).name).toMatch(/^outbox_[0-9a-f]{24}$/);
  });

  it('are sent without their names once the server has lost them', async () => {
    const own = relay();
    await own.execute(twice([1]));
    await own.query('DISCARD ALL');
    expect(await own.execute(twice([2]))).toEqual([{ twice: 4 }]);
    expect(await own.execute(twice([3]))).toEqual([{ twice: 6 }]);
    expect(await namesOn(own)).toEqual([]);
  });

  it('are sent without their names where the columns have changed since', async () => {
    const own = relay();
    await fixture.query('CREATE TABLE changing (value integer)');
    const read = hotStatement('SELECT * FROM changing');
    await own.execute(read([]));
    await fixture.query('ALTER TABLE changing ADD COLUMN other integer');
    await fixture.query('INSERT INTO changing VALUES (1, 2)');
    expect(await own.execute(read([]))).toEqual([{ value: 1, other: 2 }]);
    await fixture.query('DROP TABLE changing');
  });

  it('have none behind a pooler, whose clients see a process of its own making', async () => {
    const behind = await behindPooler(fixture.database.url);
    const application = await new DataSource({ type: 'postgres', url: behind.url }).initialize();
    keep({ close: () => application.destroy() });
    const own = relay(application);
    expect(await own.execute(twice([21]))).toEqual([{ twice: 42 }]);
    expect(own.preparesStatements).toBe(false);
    expect(await namesOn(own)).toEqual([]);
    expect(await own.query('SHOW enable_seqscan')).toEqual([{ enable_seqscan: 'on' }]);
    const stores = keep(createStores({ dataSource: application }));
    await fixture.publish([message()]);
    expect(await stores.outbox.claim(['default'], 9, terms())).toHaveLength(1);
    expect(stores.preparesStatements()).toBe(false);
    keep(behind);
  });

  it.each([
    [true, 1],
    [false, 0],
  ])('are told by an option: %s', async (prepared, names) => {
    const own = relay(fixture.dataSource, prepared);
    await own.execute(twice([1]));
    expect(own.preparesStatements).toBe(prepared);
    expect(await namesOn(own)).toHaveLength(names);
  });

  it("run READ COMMITTED where the database's default is another", async () => {
    const name = fixture.database.name;
    await fixture.query(`ALTER DATABASE "${name}" SET default_transaction_isolation = 'serializable'`);
    const strict = await new DataSource({ type: 'postgres', url: fixture.database.url }).initialize();
    keep({ close: () => strict.destroy() });
    const now = hotStatement(`SELECT current_setting('transaction_isolation') AS now`);
    expect(await relay(strict).execute(now([]))).toEqual([{ now: 'read committed' }]);
    await fixture.query(`ALTER DATABASE "${name}" RESET default_transaction_isolation`);
  });
});

/** Between client and server, and tells clients of another process, as poolers do. */
async function behindPooler(url: string): Promise<{ url: string; close(): Promise<void> }> {
  const server = new URL(url);
  // BackendKeyData: its type, and its length.
  const keyData = Buffer.from([0x4b, 0, 0, 0, 12]);
  const pooler = createServer((client) => {
    const upstream = connect(Number(server.port), server.hostname);
    client.pipe(upstream);
    upstream.on('data', (chunk: Buffer) => {
      const at = chunk.indexOf(keyData);
      if (at >= 0) chunk.writeInt32BE(chunk.readInt32BE(at + 5) + 1, at + 5);
      client.write(chunk);
    });
    upstream.on('end', () => client.end());
    for (const socket of [client, upstream]) socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => pooler.listen(0, '127.0.0.1', resolve));
  const there = new URL(url);
  there.host = `127.0.0.1:${(pooler.address() as AddressInfo).port}`;
  return { url: there.toString(), close: () => new Promise((resolve) => pooler.close(() => resolve())) };
}
