import { Client } from 'pg';
import { type PostgresServer, startPostgres } from './postgres-server';

describe('a private PostgreSQL', () => {
  let server: PostgresServer;

  beforeAll(async () => {
    server = await startPostgres();
  }, 60_000);
  afterAll(() => server.stop());

  it('creates databases', async () => {
    const client = new Client({ connectionString: await server.createDatabase('one') });
    await client.connect();
    const { rows } = await client.query<{ name: string }>('SELECT current_database() AS name');
    await client.end();
    expect(rows).toEqual([{ name: 'one' }]);
    await server.dropDatabase('one');
  });

  it('keeps what was committed when it is killed and started again on the same port', async () => {
    await server.execute('CREATE TABLE kept (id int)');
    await server.execute('INSERT INTO kept VALUES (7)');
    await server.kill();
    expect(server.isRunning).toBe(false);
    await expect(server.execute('SELECT 1')).rejects.toThrow('ECONNREFUSED');
    await server.restart();
    expect(await server.execute('SELECT id FROM kept')).toEqual([{ id: 7 }]);
  });

  it('restarts while it runs', async () => {
    const { pid, url } = server;
    await server.restart();
    expect(server.pid).not.toBe(pid);
    expect(server.url).toBe(url);
    expect(await server.execute('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });
});
