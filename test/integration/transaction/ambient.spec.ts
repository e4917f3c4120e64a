import { EventEmitter } from 'node:events';
import { Logger } from '@nestjs/common';
import { TransactionEndedError } from '../../../lib/core/errors';
import { signal } from '../../support/signal';
import { Bench, RecordingListener, ThingSchema, connect, message } from './bench';
import { TypeOrmTransactions } from '../../../lib/transaction/typeorm-transactions';
import { systemClock } from '../../../lib/core/clock';

describe.each(['postgres', 'mysql'] as const)('the ambient transaction on %s', (type) => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.start(type);
  });
  afterAll(() => bench.stop());
  beforeEach(() => bench.reset());

  it('is joined by whatever goes through the data source’s manager', async () => {
    const { dataSource, things, transactions } = bench;
    await transactions.run({}, async () => {
      expect(transactions.isActive()).toBe(true);
      await things.insert({ id: 'insert' });
      await things.save({ id: 'save' });
      await dataSource.manager.save(ThingSchema, { id: 'manager' });
      await dataSource.manager.query(`INSERT INTO thing (id) VALUES ('query')`);
      await things.createQueryBuilder().insert().values({ id: 'builder' }).execute();
      await dataSource.manager
        .createQueryBuilder()
        .insert()
        .into(ThingSchema)
        .values({ id: 'manager-builder' })
        .execute();
      await things.extend({}).insert({ id: 'extended' });
      await transactions.current().query(`INSERT INTO thing (id) VALUES ('current')`);
      expect(await things.count()).toBe(8);
      expect(await bench.storedThings()).toEqual([]);
    });
    expect(transactions.isActive()).toBe(false);
    expect(await bench.storedThings()).toHaveLength(8);
    expect(bench.listener.escapes).toEqual([]);
  });

  it('is not kept by a repository that is first made inside it', async () => {
    const Fresh = await connect(bench.database, 1);
    const transactions = transactionsOf(Fresh);
    transactions.install();
    try {
      const made = await transactions.run({}, async () => {
        const repository = Fresh.getRepository(ThingSchema);
        await repository.createQueryBuilder().insert().values({ id: 'inside' }).execute();
        return repository;
      });
      await made.createQueryBuilder().insert().values({ id: 'afterwards' }).execute();
      const undone = transactions.run({}, async () => {
        await made.createQueryBuilder().insert().values({ id: 'inside another' }).execute();
        throw new Error('undo');
      });
      await expect(undone).rejects.toThrow('undo');
      expect(await bench.storedThings()).toEqual(['afterwards', 'inside']);
    } finally {
      transactions.uninstall();
      await Fresh.destroy();
    }
  });

  it('takes repository calls that run at the same time', async () => {
    await bench.transactions.run({}, async () => {
      await Promise.all(Array.from({ length: 20 }, (_, index) => bench.things.save({ id: `t${index}` })));
      await Promise.all(Array.from({ length: 5 }, async (_, index) => bench.publish(`m${index}`)));
    });
    expect(await bench.storedThings()).toHaveLength(20);
    expect(bench.listener.handedOver).toHaveLength(5);
    expect(bench.listener.writes).toHaveLength(1);
  });

  it('refuses a promise that outlives it, and never autocommits its write', async () => {
    const ended = signal('the end of the transaction');
    let late!: Promise<unknown>;
    await bench.transactions.run({ name: 'OrderService.place' }, async () => {
      late = ended.wait().then(() => bench.things.insert({ id: 'late' }));
    });
    ended.fire();
    await expect(late).rejects.toBeInstanceOf(TransactionEndedError);
    await expect(late).rejects.toMatchObject({ transaction: 'OrderService.place' });
    expect(await bench.storedThings()).toEqual([]);
  });

  it('refuses the statements of a save that is still under way when its work ends', async () => {
    let late!: Promise<unknown>;
    await bench.transactions.run({}, async () => {
      late = bench.things.save({ id: 'half-way' }); // a SELECT first, and then an INSERT
      late.catch(() => undefined);
    });
    await expect(late).rejects.toBeInstanceOf(TransactionEndedError);
    expect(await bench.storedThings()).toEqual([]);
  });

  it('refuses the statements of somebody who kept its connection', async () => {
    const committing = signal('the commit');
    let late!: Promise<unknown>;
    bench.listener.afterWrite = async () => {
      committing.fire();
      await late.catch(() => undefined);
    };
    await bench.transactions.run({}, async () => {
      bench.publish('m');
      const kept = bench.transactions.current();
      late = committing.wait().then(() => kept.query(`INSERT INTO thing (id) VALUES ('kept')`));
      late.catch(() => undefined);
    });
    await expect(late).rejects.toBeInstanceOf(TransactionEndedError);
    expect(await bench.storedThings()).toEqual([]);
  });

  it('refuses a publish that comes too late', async () => {
    const ended = signal('the end of the transaction');
    let late!: Promise<unknown>;
    await bench.transactions.run({}, async () => {
      late = ended.wait().then(() => bench.publish('late'));
    });
    ended.fire();
    await expect(late).rejects.toBeInstanceOf(TransactionEndedError);
    expect(() => bench.publish('nowhere')).toThrow(
      expect.objectContaining({ code: 'OUTBOX_TRANSACTION_REQUIRED' }),
    );
    expect(bench.listener.lostIds).toEqual([]);
  });

  it('is carried dead by a timer that was started inside it, which may then open a new one', async () => {
    const fired = signal('the timer');
    const outcomes: unknown[] = [];
    await bench.transactions.run({ name: 'first' }, async () => {
      const tick = async () => {
        outcomes.push(bench.transactions.isActive());
        outcomes.push(await bench.things.insert({ id: 'dead' }).catch((error: unknown) => error));
        await bench.transactions.run({ name: 'second' }, () => bench.things.insert({ id: 'new' }));
        await bench.dataSource.transaction((manager) => manager.insert(ThingSchema, { id: 'plain' }));
        const mandatory = bench.transactions.run({ propagation: 'mandatory' }, async () => undefined);
        outcomes.push(await mandatory.catch((error: unknown) => error));
        fired.fire();
      };
      setTimeout(() => void tick().catch((error: unknown) => outcomes.push(error)), 1);
    });
    await fired.wait();
    expect(outcomes).toEqual([
      false,
      expect.any(TransactionEndedError),
      expect.objectContaining({ code: 'OUTBOX_TRANSACTION_ENDED', transaction: 'first' }),
    ]);
    expect(await bench.storedThings()).toEqual(['new', 'plain']);
  });

  it('is left by outside(), for good', async () => {
    const fired = signal('the timer');
    const emitter = new EventEmitter();
    let late: Promise<unknown> | undefined;
    const undone = bench.transactions.run({}, async () => {
      await bench.transactions.outside(async () => {
        expect(bench.transactions.isActive()).toBe(false);
        await bench.things.insert({ id: 'outside' });
      });
      bench.transactions.outside(() => {
        setTimeout(() => {
          late = bench.things.insert({ id: 'later' });
          fired.fire();
        }, 1);
      });
      emitter.emit('nothing');
      expect(bench.transactions.isActive()).toBe(true);
      throw new Error('undo');
    });
    await expect(undone).rejects.toThrow('undo');
    await fired.wait();
    await late;
    expect(await bench.storedThings()).toEqual(['later', 'outside']);
    expect(bench.listener.escapes).toEqual([]);
  });

  it('is not carried away by what is begun at the hand-over', async () => {
    const seen: boolean[] = [];
    bench.listener.onCommitted = () => void seen.push(bench.transactions.isActive());
    await bench.transactions.run({ name: 'outer' }, async () => {
      await bench.transactions.run({ propagation: 'requiresNew' }, async () => bench.publish('inner'));
      bench.publish('outer');
    });
    expect(seen).toEqual([false, false]);
    expect(bench.listener.handedOver).toEqual(['inner', 'outer']);
  });

  it('never mixes two data sources', async () => {
    const otherSource = await connect(bench.database, 2);
    const otherListener = new RecordingListener();
    const other = transactionsOf(otherSource, otherListener);
    other.install();
    try {
      const otherThings = otherSource.getRepository(ThingSchema);
      const undone = bench.transactions.run({}, async () => {
        await bench.things.insert({ id: 'a' });
        expect(other.isActive()).toBe(false);
        await otherThings.insert({ id: 'alone' });
        await other.run({}, async () => {
          await otherThings.insert({ id: 'b' });
          await bench.things.insert({ id: 'c' });
          other.stage([message('n')]);
          bench.publish('m');
        });
        expect(() => other.stage([message('o')], bench.dataSource.manager.queryRunner)).toThrow(
          expect.objectContaining({ code: 'OUTBOX_TRANSACTION_PROPAGATION' }),
        );
        other.outside(() => expect(bench.transactions.isActive()).toBe(false));
        throw new Error('undo');
      });
      await expect(undone).rejects.toThrow('undo');
      expect(await bench.storedThings()).toEqual(['alone', 'b']);
      expect([otherListener.handedOver, bench.listener.handedOver]).toEqual([['n'], []]);
      expect([otherListener.escapes, bench.listener.escapes]).toEqual([[], []]);
    } finally {
      other.uninstall();
      await otherSource.destroy();
    }
  });

  it('gives the data source back as it was', async () => {
    const plain = await connect(bench.database, 1);
    const before = Object.getOwnPropertyNames(plain.manager);
    const transactions = transactionsOf(plain);
    transactions.install();
    expect(() => transactionsOf(plain).install()).toThrow(expect.objectContaining({ option: 'dataSource' }));
    transactions.uninstall();
    expect(Object.getOwnPropertyNames(plain.manager)).toEqual(before);
    expect(plain.subscribers).toEqual([]);
    await plain.destroy();
  });
});

it('hears of a commit on PostgreSQL, though a subscriber from before it throws at the server’s answer', async () => {
  const bench = await Bench.start('postgres');
  const dataSource = await connect(bench.database, 1);
  dataSource.subscribers.push({
    afterQuery: ({ query }) => {
      if (query === 'COMMIT') throw new Error('not for you');
    },
  });
  const listener = new RecordingListener();
  const transactions = transactionsOf(dataSource, listener);
  transactions.install();
  const logged = jest.spyOn(Logger.prototype, 'error').mockImplementation();
  await transactions.run({}, async () => transactions.stage([message('m')]));
  expect(listener.handedOver).toEqual(['m']);
  logged.mockRestore();
  await dataSource.destroy();
  await bench.stop();
});

function transactionsOf(
  dataSource: Awaited<ReturnType<typeof connect>>,
  listener = new RecordingListener(),
): TypeOrmTransactions {
  const options = { escapedWrites: 'log', connectionWaitMs: 1_000 } as const;
  return new TypeOrmTransactions({ dataSource, listener, options, clock: systemClock });
}
