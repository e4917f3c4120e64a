import { Bench, ThingSchema } from './bench';

const aborted = expect.objectContaining({ code: 'OUTBOX_TRANSACTION_ABORTED' });

/**
 * InnoDB rolls the whole transaction back when it chooses it as a deadlock's victim. Code that swallows the error goes on
 * in autocommit: its later statements, our INSERT included, would be stored one by one, without what came before.
 */
describe('a swallowed deadlock on MySQL', () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.start('mysql', { poolSize: 2 });
  });
  afterAll(() => bench.stop());
  beforeEach(() => bench.reset());

  const nothing = async () => {
    expect(await bench.storedThings()).toEqual([]);
    expect(await bench.storedMessages()).toEqual([]);
    expect(bench.listener.handedOver).toEqual([]);
    expect(bench.listener.lostIds).toEqual([]);
  };

  it('refuses later statements of a transaction of ours: they would be autocommitted', async () => {
    const own = bench.transactions.run({}, async () => {
      await bench.things.insert({ id: 'a' });
      await bench.swallowDeadlock(bench.transactions.current());
      await expect(bench.things.insert({ id: 'b' })).rejects.toEqual(aborted);
      expect(() => bench.publish('m')).toThrow(aborted);
    });
    await expect(own).rejects.toEqual(aborted);
    await nothing();
  });

  it('refuses to publish into a transaction that the application opened, too', async () => {
    const plain = bench.dataSource.transaction(async (manager) => {
      await manager.insert(ThingSchema, { id: 'a' });
      await bench.swallowDeadlock(manager);
      expect(() => bench.publish('m', manager)).toThrow(aborted);
      bench.publish('n', manager);
    });
    await expect(plain).rejects.toEqual(aborted);
    await nothing();
  });

  it('refuses what comes after it in a savepoint', async () => {
    const own = bench.transactions.run({}, async () => {
      await bench.things.insert({ id: 'a' });
      bench.publish('m');
      const nested = bench.transactions.run({ propagation: 'nested' }, async () => {
        await bench.swallowDeadlock(bench.transactions.current());
        throw new Error('give up');
      });
      await expect(nested).rejects.toThrow('give up');
      await expect(bench.things.insert({ id: 'b' })).rejects.toEqual(aborted);
    });
    await expect(own).rejects.toEqual(aborted);
    await nothing();
  });

  it('is found out by the connection’s status where the error does not tell', async () => {
    const blocker = bench.observer.createQueryRunner();
    await bench.observer.query(`INSERT INTO thing (id) VALUES ('locked')`);
    await blocker.startTransaction();
    await blocker.query(`SELECT id FROM thing WHERE id = 'locked' FOR UPDATE`);
    const own = bench.transactions.run({}, async () => {
      const runner = bench.transactions.current();
      bench.publish('m');
      await runner.query('SET SESSION innodb_lock_wait_timeout = 0');
      await expect(runner.query(`SELECT id FROM thing WHERE id = 'locked' FOR UPDATE`)).rejects.toMatchObject(
        { errno: 1205 },
      );
      // What the server does by itself under innodb_rollback_on_timeout, which only a restart can set.
      await rollBackBehind(bench.dataSource.manager.queryRunner);
      await expect(bench.things.insert({ id: 'b' })).rejects.toEqual(aborted);
    });
    await expect(own).rejects.toEqual(aborted);
    await blocker.rollbackTransaction();
    await blocker.release();
    expect(await bench.storedThings()).toEqual(['locked']);
    expect(await bench.storedMessages()).toEqual([]);
  });

  it('lets a transaction go on whose failed statement did not end it', async () => {
    await bench.transactions.run({}, async () => {
      await bench.things.insert({ id: 'a' });
      await expect(bench.things.insert({ id: 'a' })).rejects.toMatchObject({ errno: 1062 });
      await bench.things.insert({ id: 'b' });
      bench.publish('m');
    });
    expect(await bench.storedThings()).toEqual(['a', 'b']);
    expect(bench.listener.handedOver).toEqual(['m']);
  });

  it.each(['TRUNCATE TABLE thing', 'CREATE TABLE more (id int)', '/* x */ ALTER TABLE thing COMMENT = "x"'])(
    'nor does %s, which commits implicitly, get through',
    async (sql) => {
      const refused = expect.objectContaining({ code: 'OUTBOX_TRANSACTION_PROPAGATION' });
      const undone = bench.transactions.run({}, async () => {
        await bench.things.insert({ id: 'a' });
        await expect(bench.dataSource.manager.query(sql)).rejects.toEqual(refused);
        throw new Error('undo');
      });
      await expect(undone).rejects.toThrow('undo');
      await nothing();
    },
  );

  it('is not the only way to lose a transaction: one that was committed implicitly takes no message', async () => {
    const plain = bench.dataSource.transaction(async (manager) => {
      await manager.insert(ThingSchema, { id: 'a' });
      await manager.query('CREATE TABLE implicit (id int)');
      expect(() => bench.publish('m', manager)).toThrow(aborted);
      bench.publish('n', manager);
    });
    await expect(plain).rejects.toEqual(aborted);
    expect(await bench.storedMessages()).toEqual([]);
  });
});

/** Sends ROLLBACK past TypeORM and past us. */
function rollBackBehind(runner: unknown): Promise<void> {
  const { databaseConnection } = runner as {
    databaseConnection: { query(sql: string, done: (error: Error | null) => void): void };
  };
  return new Promise((resolve, reject) => {
    databaseConnection.query('ROLLBACK', (error) => (error ? reject(error) : resolve()));
  });
}
