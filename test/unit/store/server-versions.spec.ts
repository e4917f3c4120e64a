import { UnsupportedDatabaseError } from '../../../lib/core/errors';
import { MysqlServer } from '../../../lib/store/dialects/mysql/server';
import { PostgresOutbox } from '../../../lib/store/dialects/postgres/outbox';

const server = (version: string): Promise<MysqlServer> =>
  MysqlServer.detector()({ query: () => Promise.resolve([{ version }]) });

describe('The server behind mysql', () => {
  it.each([
    ['8.0.11', '@@transaction_isolation'],
    ['8.0.36-28', '@@transaction_isolation'],
    ['8.4.2', '@@transaction_isolation'],
    ['8.0.mysql_aurora.3.04.0', '@@transaction_isolation'],
    ['9.1.0', '@@transaction_isolation'],
    ['10.6.0-MariaDB', '@@tx_isolation'],
    ['10.11.19-MariaDB-0+deb12u1', '@@tx_isolation'],
    ['11.8.2-MariaDB-log', '@@tx_isolation'],
  ])('takes %s', async (version, isolationVariable) => {
    const found = await server(version);
    expect(() => found.refuseOld()).not.toThrow();
    expect(found.isolationVariable).toBe(isolationVariable);
  });

  it.each(['5.7.44', '8.0.4', '5.7.25-TiDB-v7.1', '10.5.28-MariaDB', ''])('refuses %p', async (version) => {
    const found = await server(version);
    expect(() => found.refuseOld()).toThrow(UnsupportedDatabaseError);
    expect(() => found.refuseOld()).toThrow(/MySQL 8.0.11 or MariaDB 10.6/);
  });

  it('is asked once', async () => {
    const query = jest.fn().mockResolvedValue([{ version: '8.0.36' }]);
    const detect = MysqlServer.detector();
    expect(await detect({ query })).toBe(await detect({ query }));
    expect(query).toHaveBeenCalledTimes(1);
  });
});

describe('The server behind postgres', () => {
  const names = { message: 't' } as never;
  const verify = (number: string): Promise<void> =>
    new PostgresOutbox(names, 'park', 30_000).verifyServer({
      query: () => Promise.resolve([{ number, version: number }]),
    });

  it('is 13 or newer', async () => {
    await expect(verify('130000')).resolves.toBeUndefined();
    await expect(verify('180001')).resolves.toBeUndefined();
    await expect(verify('120022')).rejects.toThrow(/PostgreSQL 13 or newer; this is 120022/);
  });
});
