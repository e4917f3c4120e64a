import { DataSource } from 'typeorm';
import { OutboxConfigurationError, UnsupportedDatabaseError } from '../../../lib/core/errors';
import { createStores } from '../../../lib/store/create-stores';
import { quote, resolveTableNames } from '../../../lib/store/table-names';

const of = (type: string): DataSource => new DataSource({ type, database: 'd' } as never);

describe('createStores', () => {
  it.each(['sqljs', 'better-sqlite3', 'expo'])('refuses %s, with the reason', (type) => {
    const dataSource = { options: { type } } as DataSource;
    expect(() => createStores({ dataSource })).toThrow(UnsupportedDatabaseError);
    expect(() => createStores({ dataSource })).toThrow(/share one connection among overlapping transactions/);
  });

  it.each(['mssql', 'oracle', 'cockroachdb', 'aurora-postgres', 'mongodb'])('refuses %s', (type) => {
    const dataSource = { options: { type } } as DataSource;
    expect(() => createStores({ dataSource })).toThrow(
      /Use PostgreSQL 13\+, MySQL 8\.0\.1\+ or MariaDB 10\.6\+/,
    );
  });

  it('connects to nothing before it is used, and closes what was never opened', async () => {
    const stores = createStores({ dataSource: of('mariadb') });
    await stores.close();
    await expect(stores.outbox.stats()).rejects.toThrow('closed');
  });
});

describe('resolveTableNames', () => {
  it('quotes and qualifies', () => {
    const names = resolveTableNames(of('postgres'), { schema: 'a"b', prefix: 'x_' });
    expect(names).toMatchObject({
      message: '"a""b"."x_outbox_message"',
      inbox: '"a""b"."x_inbox_message"',
      schema: 'a"b',
    });
    expect(resolveTableNames(of('mysql'), { prefix: 'x`' }).key).toBe('`x``outbox_key`');
    expect(quote('mysql', '`')).toBe('````');
  });

  it('refuses a prefix that makes names too long for an index', () => {
    expect(() => resolveTableNames(of('postgres'), { prefix: 'x'.repeat(36) })).not.toThrow();
    expect(() => resolveTableNames(of('postgres'), { prefix: 'x'.repeat(37) })).toThrow(
      OutboxConfigurationError,
    );
  });
});
