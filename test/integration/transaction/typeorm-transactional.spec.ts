import {
  StorageDriver,
  addTransactionalDataSource,
  deleteDataSourceByName,
  initializeTransactionalContext,
  runInTransaction,
} from 'typeorm-transactional';
import { Bench } from './bench';
import { type Tx, type Way, describeTruth } from './truth-table';

// Before the first repository is made, as that library asks for.
initializeTransactionalContext({ storageDriver: StorageDriver.ASYNC_LOCAL_STORAGE });

describe('typeorm-transactional, joined by us', () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.start('postgres');
    addTransactionalDataSource({ name: 'joined', dataSource: bench.dataSource });
  });
  afterAll(async () => {
    deleteDataSourceByName('joined');
    await bench.stop();
  });
  beforeEach(() => bench.reset());

  const inTheirs = (work: () => Promise<void>) => runInTransaction(work, { connectionName: 'joined' });
  const add = (id: string) => bench.things.insert({ id });

  it('commits what both did, together', async () => {
    await inTheirs(async () => {
      await add('theirs');
      await bench.transactions.run({}, async () => {
        await add('ours');
        bench.publish('m');
      });
      expect(await bench.storedThings()).toEqual([]);
    });
    expect(await bench.storedThings()).toEqual(['ours', 'theirs']);
    expect(bench.listener.handedOver).toEqual(['m']);
  });

  it('cannot commit when a part of ours failed, whoever caught that', async () => {
    const theirs = inTheirs(async () => {
      await add('theirs');
      const ours = bench.transactions.run({}, async () => {
        await add('ours');
        throw new Error('the work failed');
      });
      await ours.catch(() => undefined);
    });
    await expect(theirs).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ROLLBACK_ONLY' });
    expect(await bench.storedThings()).toEqual([]);
  });

  it('is a savepoint in ours, where ours is the outer one', async () => {
    await bench.transactions.run({}, async () => {
      await inTheirs(async () => {
        await add('theirs');
        bench.publish('m');
        throw new Error('the work failed');
      }).catch(() => undefined);
      await add('ours');
    });
    expect(await bench.storedThings()).toEqual(['ours']);
    expect(bench.listener.handedOver).toEqual([]);
  });

  it('is left by outside()', async () => {
    await inTheirs(async () => {
      expect(bench.transactions.isActive()).toBe(true);
      bench.transactions.outside(() => expect(bench.transactions.isActive()).toBe(false));
    });
    expect(bench.transactions.isActive()).toBe(false);
  });

  it('keeps repositories of its own in a requiresNew of ours, which is then told', async () => {
    await inTheirs(() =>
      bench.transactions.run({ propagation: 'requiresNew', name: 'ours' }, async () => {
        await add('in theirs');
      }),
    );
    expect(bench.listener.escapes).toEqual([expect.objectContaining({ transaction: 'ours' })]);
  });
});

describe('typeorm-transactional', () => {
  for (const type of ['postgres', 'mysql'] as const) {
    describeTruth(type, async () => {
      const bench = await Bench.start(type, { poolSize: 1 });
      addTransactionalDataSource({ name: type, dataSource: bench.dataSource });
      const tx: Tx = {
        add: (id) => bench.things.insert({ id }),
        publish: (id) => bench.publish(id),
        get statements() {
          return bench.dataSource.manager.queryRunner!;
        },
        // Its Propagation.NESTED opens a second transaction, on a second connection: no savepoint at all.
        savepoint: (work) => bench.dataSource.manager.transaction(() => work(tx)),
      };
      const way: Way = {
        name: 'typeorm-transactional',
        transaction: (work) => runInTransaction(() => work(tx), { connectionName: type }),
      };
      return {
        bench,
        way,
        close: async () => {
          deleteDataSourceByName(type);
          await bench.stop();
        },
      };
    });
  }
});
