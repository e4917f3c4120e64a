import { EscapedWriteError } from '../../../lib/core/errors';
import { Bench, ThingSchema } from './bench';

describe.each(['postgres', 'mysql'] as const)('writes that escape the ambient transaction on %s', (type) => {
  const benches: Bench[] = [];
  let bench: Bench;
  const start = async (escapedWrites: 'log' | 'error' | 'ignore') => {
    const started = await Bench.start(type, { escapedWrites });
    benches.push(started);
    return started;
  };
  beforeAll(async () => {
    bench = await start('log');
  });
  afterAll(() => Promise.all(benches.map((each) => each.stop())));
  beforeEach(() => bench.reset());

  it('are named, once a statement and transaction', async () => {
    const { dataSource, transactions } = bench;
    for (const name of ['first', 'second']) {
      await transactions.run({ name }, async () => {
        await dataSource.query(`INSERT INTO thing\n  (id) VALUES ('a')`);
        await dataSource.query(`DELETE FROM thing`);
        await dataSource.query(`/* why */ DELETE FROM thing`);
        await dataSource.query(`DELETE FROM thing`);
        await dataSource.query('SELECT 1');
        await dataSource.createQueryBuilder().insert().into(ThingSchema).values({ id: name }).execute();
        const runner = dataSource.createQueryRunner();
        await runner.query(`UPDATE thing SET id = 'z' WHERE id = 'y'`);
        await runner.release();
      });
    }
    const { escapes } = bench.listener;
    expect(escapes.filter(({ transaction }) => transaction === 'first').map(({ query }) => query)).toEqual([
      `INSERT INTO thing (id) VALUES ('a')`,
      'DELETE FROM thing',
      '/* why */ DELETE FROM thing',
      expect.stringMatching(/^INSERT INTO .thing.\(.id.\) VALUES \(.+\)$/),
      `UPDATE thing SET id = 'z' WHERE id = 'y'`,
    ]);
    expect(escapes.filter(({ transaction }) => transaction === 'second')).toHaveLength(5);
  });

  it('are found where another connection is used on purpose, too, unless it is a transaction of ours', async () => {
    const { transactions, things, dataSource } = bench;
    await transactions.run({ name: 'outer' }, async () => {
      await transactions.run({ propagation: 'requiresNew', name: 'inner' }, async () => {
        await things.insert({ id: 'inner' });
        bench.publish('inner');
        await dataSource.query(`DELETE FROM thing WHERE id = 'escaped from the inner'`);
      });
      await transactions.outside(() => things.insert({ id: 'outside' }));
      await things.insert({ id: 'outer' });
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction();
      bench.publish('by hand', runner);
      await runner.commitTransaction();
      await runner.release();
    });
    expect(bench.listener.escapes).toEqual([
      { query: `DELETE FROM thing WHERE id = 'escaped from the inner'`, transaction: 'inner' },
    ]);
    expect(await bench.storedThings()).toEqual(['inner', 'outer', 'outside']);
  });

  it('are not what a subscriber writes on the connection that it is told of', async () => {
    bench.dataSource.subscribers.push({
      beforeTransactionCommit: async ({ queryRunner }) => {
        await queryRunner.query(`DELETE FROM thing WHERE id = 'audited'`);
      },
    });
    await bench.transactions.run({}, () =>
      bench.transactions.run({ propagation: 'requiresNew' }, () => bench.things.insert({ id: 'inner' })),
    );
    bench.dataSource.subscribers.pop();
    expect(bench.listener.escapes).toEqual([]);
  });

  it('are refused by option, and then they are not stored', async () => {
    const strict = await start('error');
    const own = strict.transactions.run({ name: 'Orders.place' }, async () => {
      await strict.dataSource.query(`INSERT INTO thing (id) VALUES ('a')`);
    });
    await expect(own).rejects.toBeInstanceOf(EscapedWriteError);
    await expect(own).rejects.toMatchObject({ transaction: 'Orders.place' });
    expect(await strict.storedThings()).toEqual([]);
    expect(strict.listener.escapes).toHaveLength(1);
    await strict.dataSource.query(`INSERT INTO thing (id) VALUES ('b')`);
    await strict.transactions.run({}, () => strict.dataSource.query('SELECT 1'));
    expect(await strict.storedThings()).toEqual(['b']);
  });

  it('are ignored by option', async () => {
    const lax = await start('ignore');
    await lax.transactions.run({}, () => lax.dataSource.query(`INSERT INTO thing (id) VALUES ('a')`));
    expect(lax.listener.escapes).toEqual([]);
  });

  it('fill no memory', async () => {
    await bench.transactions.run({}, async () => {
      for (let index = 0; index < 150; index += 1) {
        await bench.dataSource.query(`DELETE FROM thing WHERE id = '${index}'`);
      }
    });
    expect(bench.listener.escapes).toHaveLength(100);
  });
});
