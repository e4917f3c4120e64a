import { type MariaDbServer, startMariaDb } from './mariadb-server';

describe('a private MariaDB', () => {
  let server: MariaDbServer;

  beforeAll(async () => {
    server = await startMariaDb();
  }, 60_000);
  afterAll(() => server.stop());

  it('creates databases', async () => {
    expect(new URL(await server.createDatabase('one')).pathname).toBe('/one');
    expect(await server.execute("SHOW DATABASES LIKE 'one'")).toHaveLength(1);
    await server.dropDatabase('one');
    expect(await server.execute("SHOW DATABASES LIKE 'one'")).toHaveLength(0);
  });

  it('keeps what was committed when it is killed and started again on the same port', async () => {
    await server.execute('CREATE TABLE test.kept (id int)');
    await server.execute('INSERT INTO test.kept VALUES (7)');
    await server.kill();
    expect(server.isRunning).toBe(false);
    await expect(server.execute('SELECT 1')).rejects.toThrow('ECONNREFUSED');
    await server.restart();
    expect(await server.execute('SELECT id FROM test.kept')).toEqual([{ id: 7 }]);
  });

  it('restarts while it runs', async () => {
    const { pid, url } = server;
    await server.restart();
    expect(server.pid).not.toBe(pid);
    expect(server.url).toBe(url);
    expect(await server.execute('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });
});
