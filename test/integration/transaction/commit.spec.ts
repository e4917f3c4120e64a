import { type EntitySubscriberInterface, type QueryRunner } from 'typeorm';
import { Logger } from '@nestjs/common';
import { signal } from '../../support/signal';
import { Bench, ThingSchema, outcomeOf } from './bench';

const failure = new Error('the work failed');

describe.each(['postgres', 'mysql'] as const)('around COMMIT on %s', (type) => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.start(type, { poolSize: 1 });
  });
  afterAll(() => bench.stop());
  beforeEach(() => bench.reset());
  afterEach(() => {
    bench.dataSource.subscribers.splice(1);
  });

  const add = (id: string) => bench.things.insert({ id });

  /** A subscriber of the application's. */
  const subscribe = (subscriber: EntitySubscriberInterface) => bench.dataSource.subscribers.push(subscriber);

  /** Runs work on a query runner of its own, and releases it whatever happens. */
  async function byHand(work: (runner: QueryRunner) => Promise<void>): Promise<void> {
    const runner = bench.dataSource.createQueryRunner();
    await work(runner).finally(() => runner.release());
  }

  it('writes all messages with one statement, and nothing where there are none', async () => {
    await bench.transactions.run({}, async () => {
      for (let index = 0; index < 100; index += 1) bench.publish(`m${index}`);
    });
    await bench.transactions.run({}, () => add('a'));
    await bench.things.insert({ id: 'b' });
    expect(bench.listener.writes.map(({ ids }) => ids.length)).toEqual([100]);
    expect(await bench.storedMessages()).toHaveLength(100);
  });

  it('costs a healthy transaction no statement of its own', async () => {
    const statements: string[] = [];
    subscribe({ beforeQuery: ({ query }) => void statements.push(query) });
    await bench.transactions.run({}, async () => {
      await add('a');
      bench.publish('m');
    });
    const one = [
      expect.stringMatching(/^INSERT INTO .thing/),
      expect.stringMatching(/^INSERT INTO probe_outbox/),
    ];
    expect(statements).toEqual(['START TRANSACTION', ...one, 'COMMIT']);
  });

  it('takes what other subscribers publish in their own before-commit hooks, late ones included', async () => {
    subscribe({
      beforeTransactionCommit: ({ queryRunner }) => bench.publish('at once', queryRunner),
    });
    subscribe({
      beforeTransactionCommit: async ({ queryRunner }) => {
        await queryRunner.query(`INSERT INTO thing (id) VALUES ('audit')`);
        await queryRunner.query('SELECT 1');
        bench.publish('late', queryRunner);
      },
    });
    await bench.transactions.run({}, () => add('a'));
    await bench.dataSource
      .transaction((manager) => manager.insert(ThingSchema, { id: 'b' }))
      .catch(() => undefined);
    expect(bench.listener.handedOver).toEqual(['at once', 'late']);
    expect(await bench.storedMessages()).toEqual(['at once', 'late']);
    expect(await bench.storedThings()).toEqual(['a', 'audit']);
  });

  it('takes what is published while it writes', async () => {
    const runner = bench.dataSource.createQueryRunner();
    bench.listener.afterWrite = async () => {
      bench.listener.afterWrite = null;
      bench.publish('second', runner);
    };
    await runner.startTransaction();
    bench.publish('first', runner);
    await runner.commitTransaction();
    await runner.release();
    expect(bench.listener.handedOver).toEqual(['first', 'second']);
    expect(await bench.storedMessages()).toEqual(['first', 'second']);
  });

  it('rolls back when the messages cannot be written, and a second try to commit is refused', async () => {
    const broken = () => {
      bench.listener.afterWrite = async () => {
        throw failure;
      };
    };
    broken();
    const own = bench.transactions.run({}, async () => {
      await add('a');
      bench.publish('m');
    });
    await expect(own).rejects.toBe(failure);
    broken();
    await byHand(async (runner) => {
      await runner.startTransaction();
      await runner.query(`INSERT INTO thing (id) VALUES ('b')`);
      bench.publish('n', runner);
      await expect(runner.commitTransaction()).rejects.toBe(failure);
      await expect(runner.commitTransaction()).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ABORTED' });
      await runner.rollbackTransaction();
    });
    expect([await bench.storedThings(), await bench.storedMessages()]).toEqual([[], []]);
    expect([bench.listener.handedOver, bench.listener.lostIds]).toEqual([[], []]);
  });

  it('hands over, though a subscriber throws after the commit; and then a run has succeeded, for it has', async () => {
    const logged = jest.spyOn(Logger.prototype, 'error').mockImplementation();
    const throwing = () => {
      throw failure;
    };
    subscribe({ afterTransactionCommit: throwing });
    bench.dataSource.subscribers.unshift({ afterTransactionCommit: throwing });
    try {
      await bench.transactions.run({ name: 'Orders.place' }, async () => {
        await add('a');
        bench.publish('m');
      });
      const plain = bench.dataSource.transaction(async (manager) => bench.publish('n', manager));
      await expect(plain).rejects.toBe(failure); // TypeORM's own behaviour
    } finally {
      bench.dataSource.subscribers.shift();
    }
    expect(await bench.storedThings()).toEqual(['a']);
    expect(await bench.storedMessages()).toEqual(['m', 'n']);
    expect(bench.listener.handedOver).toEqual(['m', 'n']);
    expect(logged).toHaveBeenCalledWith(expect.stringContaining('Orders.place: the work failed'));
    logged.mockRestore();
  });

  it('does not keep half of a savepoint whose after-hook threw', async () => {
    subscribe({
      afterTransactionCommit: ({ queryRunner }) => {
        if (queryRunner.isTransactionActive) throw failure;
      },
    });
    const outer = bench.transactions.run({}, async () => {
      await bench.transactions.run({ propagation: 'nested' }, () => add('a')).catch(() => undefined);
      await add('b');
      bench.publish('m');
    });
    await expect(outer).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ROLLBACK_ONLY', cause: failure });
    expect([await bench.storedThings(), await bench.storedMessages()]).toEqual([[], []]);
  });

  it('keeps the transaction whole when a subscriber refuses a savepoint', async () => {
    subscribe({
      beforeTransactionStart: ({ queryRunner }) => {
        if ((queryRunner as unknown as { transactionDepth: number }).transactionDepth > 0) throw failure;
      },
    });
    await bench.transactions.run({}, async () => {
      await add('a');
      const nested = bench.transactions.run({ propagation: 'nested' }, () => add('b'));
      await expect(nested).rejects.toBe(failure);
      await bench.things.save({ id: 'c' });
      expect(await bench.storedThings()).toEqual([]);
    });
    expect(await bench.storedThings()).toEqual(['a', 'c']);
  });

  it('tells of messages on a connection that is released with its transaction open', async () => {
    await byHand(async (runner) => {
      await runner.startTransaction();
      bench.publish('m', runner);
      await runner.query('ROLLBACK TO SAVEPOINT nowhere').catch(() => undefined);
    });
    expect(bench.listener.lostIds).toEqual(['m']);
    expect(bench.listener.lostReasons).toEqual([expect.stringContaining('released')]);
    await bench.dataSource.query('ROLLBACK'); // what that leaves on the pooled connection is TypeORM's
  });

  it('does not call lost what was rolled back, or what its caller was told of', async () => {
    await byHand(async (runner) => {
      await runner.startTransaction();
      bench.publish('m', runner);
      await runner.rollbackTransaction();
    });
    await byHand(async (runner) => {
      await runner.startTransaction();
      bench.publish('n', runner);
      await bench.kill(await bench.connectionId(runner));
      await expect(runner.commitTransaction()).rejects.toThrow();
    });
    const killed = bench.dataSource.transaction(async (manager) => {
      bench.publish('o', manager);
      await bench.kill(await bench.connectionId(manager));
      await manager.query('SELECT 1');
    });
    await expect(killed).rejects.toThrow();
    expect([bench.listener.lostIds, bench.listener.handedOver, await bench.storedMessages()]).toEqual([
      [],
      [],
      [],
    ]);
  });

  it('keeps the messages of each transaction of one connection apart', async () => {
    await byHand(async (runner) => {
      await runner.startTransaction();
      bench.publish('a', runner);
      await runner.commitTransaction();
      expect(() => bench.publish('between', runner)).toThrow(
        expect.objectContaining({ code: 'OUTBOX_TRANSACTION_REQUIRED' }),
      );
      await runner.query(`INSERT INTO thing (id) VALUES ('autocommitted')`); // its owner's own business
      await runner.startTransaction();
      bench.publish('b', runner);
      await runner.rollbackTransaction();
      await runner.startTransaction();
      await runner.commitTransaction();
      await runner.startTransaction();
      bench.publish('c', runner);
      await runner.commitTransaction();
    });
    expect(bench.listener.handedOver).toEqual(['a', 'c']);
    expect(await bench.storedThings()).toEqual(['autocommitted']);
  });

  it('leaves a connection whose commit was refused fit for the next transaction', async () => {
    await byHand(async (runner) => {
      await runner.startTransaction();
      const joined = bench.transactions.run({ manager: runner }, async () => {
        bench.publish('a');
        throw failure;
      });
      await expect(joined).rejects.toBe(failure);
      await expect(runner.commitTransaction()).rejects.toMatchObject({
        code: 'OUTBOX_TRANSACTION_ROLLBACK_ONLY',
      });
      await runner.rollbackTransaction();
      await runner.startTransaction('SERIALIZABLE');
      await runner.query(`INSERT INTO thing (id) VALUES ('b')`);
      bench.publish('b', runner);
      await runner.commitTransaction();
    });
    expect(await bench.storedThings()).toEqual(['b']);
    expect(bench.listener.handedOver).toEqual(['b']);
  });

  it('does not go on when a savepoint could not be rolled back', async () => {
    const own = bench.transactions.run({}, async () => {
      await add('a');
      const nested = bench.transactions.run({ propagation: 'nested' }, async () => {
        await add('b');
        subscribe({
          beforeTransactionRollback: () => {
            throw new Error('no rollback');
          },
        });
        throw failure;
      });
      await expect(nested).rejects.toBe(failure);
      bench.dataSource.subscribers.splice(1);
      await expect(add('c')).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ABORTED' });
    });
    await expect(own).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ABORTED' });
    expect(await bench.storedThings()).toEqual([]);
    await bench.transactions.run({}, () => add('healthy'));
    expect(await bench.storedThings()).toEqual(['healthy']);
  });

  it('follows savepoints that are set by hand', async () => {
    await byHand(async (runner) => {
      await runner.startTransaction();
      await runner.query('SAVEPOINT before_all');
      bench.publish('a', runner);
      await runner.query('ROLLBACK TO before_all');
      bench.publish('b', runner);
      await runner.query('SAVEPOINT one');
      bench.publish('c', runner);
      await runner.query('SAVEPOINT two');
      bench.publish('d', runner);
      await runner.query('RELEASE SAVEPOINT two');
      await runner.query('ROLLBACK TO SAVEPOINT one;');
      bench.publish('e', runner);
      await runner.commitTransaction();
    });
    expect(bench.listener.handedOver).toEqual(['b', 'e']);
  });

  it.each(['COMMIT', 'commit;', ' COMMIT AND CHAIN', 'BEGIN', 'START TRANSACTION'])(
    'refuses a hand-written %s, before it is sent, where messages wait',
    async (sql) => {
      await byHand(async (runner) => {
        await runner.startTransaction();
        await runner.query(`INSERT INTO thing (id) VALUES ('a')`);
        bench.publish('m', runner);
        await expect(runner.query(sql)).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_PROPAGATION' });
        expect(await bench.storedThings()).toEqual([]);
        await runner.commitTransaction();
      });
      expect(bench.listener.handedOver).toEqual(['m']);
    },
  );

  it('leaves hand-written transactions alone, where no message waits', async () => {
    await byHand(async (runner) => {
      await runner.startTransaction();
      bench.publish('before', runner);
      await runner.commitTransaction();
      await runner.startTransaction('READ COMMITTED');
      await runner.query('COMMIT');
      await runner.rollbackTransaction();
    });
    expect(bench.listener.handedOver.splice(0)).toEqual(['before']);
    await byHand(async (runner) => {
      await runner.startTransaction();
      await runner.query(`INSERT INTO thing (id) VALUES ('a')`);
      await runner.query('COMMIT');
      expect(() => bench.publish('m', runner)).not.toThrow();
      await runner.rollbackTransaction();
      await runner.query('BEGIN');
      await runner.query(`INSERT INTO thing (id) VALUES ('b')`);
      expect(() => bench.publish('n', runner)).toThrow(
        expect.objectContaining({ code: 'OUTBOX_TRANSACTION_REQUIRED' }),
      );
      await runner.query('ROLLBACK');
    });
    expect(await bench.storedThings()).toEqual(['a']);
    expect(bench.listener.handedOver).toEqual([]);
  });

  it('drops what was staged before a hand-written ROLLBACK, and takes no more', async () => {
    await byHand(async (runner) => {
      await runner.startTransaction();
      bench.publish('m', runner);
      await runner.query('ROLLBACK');
      expect(() => bench.publish('n', runner)).toThrow(
        expect.objectContaining({ code: 'OUTBOX_TRANSACTION_ENDED' }),
      );
      await runner.rollbackTransaction();
    });
    expect([bench.listener.handedOver, bench.listener.lostIds]).toEqual([[], []]);
  });

  it('tells the caller of a swallowed failure in a transaction of ours, though it has no message', async () => {
    // An @Idempotent() handler whose inbox row is gone must not be acknowledged.
    const own = bench.transactions.run({}, async () => {
      await add('a');
      await bench.swallowFailedStatement(bench.transactions.current());
    });
    expect(await outcomeOf(own)).toBe('TransactionAbortedError');
    expect(await bench.storedThings()).toEqual([]);
  });

  it('leaves the transactions of others alone, aborted ones included', async () => {
    await bench.dataSource.transaction(async (manager) => {
      await manager.insert(ThingSchema, { id: 'a' });
      await bench.swallowFailedStatement(manager);
    });
    expect(await bench.storedThings()).toEqual([]);
  });

  it('says neither committed nor lost when the answer to COMMIT is lost', async () => {
    bench.listener.afterWrite = async (statements) => bench.kill(await bench.connectionId(statements));
    const own = bench.transactions.run({}, async () => {
      await add('a');
      bench.publish('m');
    });
    await expect(own).rejects.toThrow();
    expect([bench.listener.handedOver, bench.listener.lostIds]).toEqual([[], []]);
    bench.listener.afterWrite = null;
    await bench.transactions.run({}, () => add('healthy'));
    expect(await bench.storedThings()).toEqual(['healthy']);
  });

  it('destroys a connection whose rollback failed, instead of giving it back', async () => {
    subscribe({
      beforeTransactionRollback: () => {
        throw new Error('no rollback');
      },
    });
    const before = await bench.transactions.run({}, () => bench.connectionId(bench.transactions.current()));
    const undone = bench.transactions.run({}, async () => {
      await add('a');
      throw failure;
    });
    await expect(undone).rejects.toBe(failure);
    const after = await bench.transactions.run({}, () => bench.connectionId(bench.transactions.current()));
    expect(after).not.toBe(before);
    expect(await bench.storedThings()).toEqual([]);
  });

  it('lets a pool of one work while a hand-over waits for it', async () => {
    const handed = signal('the hand-over');
    let sent!: Promise<unknown>;
    bench.listener.onCommitted = () => {
      sent = bench.things.count(); // a dispatcher that wants the pool's only connection
      handed.fire();
    };
    await bench.transactions.run({}, async () => bench.publish('m'));
    await handed.wait();
    expect(await sent).toBe(0);
  });
});
