import { signal } from '../../support/signal';
import { Bench, ThingSchema, outcomeOf } from './bench';

const failure = new Error('the work failed');

describe.each(['postgres', 'mysql'] as const)('propagation on %s', (type) => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.start(type, { poolSize: 2, connectionWaitMs: 200 });
  });
  afterAll(() => bench.stop());
  beforeEach(() => bench.reset());

  const add = (id: string) => bench.things.insert({ id });
  const run = (...args: Parameters<Bench['transactions']['run']>) => bench.transactions.run(...args);

  describe('required', () => {
    it('joins: change and message of both commit together', async () => {
      await run({}, async () => {
        await run({}, async () => {
          await add('inner');
          bench.publish('inner');
        });
        expect(await bench.storedThings()).toEqual([]);
        bench.publish('outer');
      });
      expect(await bench.storedThings()).toEqual(['inner']);
      expect(bench.listener.writes).toEqual([{ ids: ['inner', 'outer'], isolation: null }]);
    });

    it('does not let a caller’s catch split a change from its message', async () => {
      const outer = run({ name: 'outer' }, async () => {
        await run({ name: 'inner' }, async () => {
          await add('inner');
          throw failure;
        }).catch(() => undefined);
        await add('outer');
        bench.publish('outer');
      });
      await expect(outer).rejects.toMatchObject({
        code: 'OUTBOX_TRANSACTION_ROLLBACK_ONLY',
        transaction: 'outer',
        cause: failure,
      });
      expect([await bench.storedThings(), await bench.storedMessages()]).toEqual([[], []]);
      expect(bench.listener.handedOver).toEqual([]);
    });

    it('does not either in a plain manager’s transaction that it was told to join', async () => {
      const outer = bench.dataSource.transaction(async (manager) => {
        await manager.insert(ThingSchema, { id: 'outer' });
        await run({ manager }, async () => {
          await add('inner');
          bench.publish('inner');
          throw failure;
        }).catch(() => undefined);
      });
      await expect(outer).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ROLLBACK_ONLY', cause: failure });
      expect([await bench.storedThings(), await bench.storedMessages()]).toEqual([[], []]);
    });

    it('forgives a failure that was rolled back with a savepoint, hand-made ones included', async () => {
      await run({}, async () => {
        await run({ propagation: 'nested' }, () =>
          run({}, async () => {
            await add('nested');
            throw failure;
          }),
        ).catch(() => undefined);
        await bench.dataSource
          .transaction(() =>
            run({}, async () => {
              await add('manager');
              throw failure;
            }),
          )
          .catch(() => undefined);
        await bench.transactions.current().query('SAVEPOINT mine');
        await run({}, async () => {
          await add('by hand');
          bench.publish('by hand');
          throw failure;
        }).catch(() => undefined);
        await bench.transactions.current().query('ROLLBACK TO SAVEPOINT mine');
        await add('kept');
        bench.publish('kept');
      });
      expect(await bench.storedThings()).toEqual(['kept']);
      expect(await bench.storedMessages()).toEqual(['kept']);
    });

    it('makes the named transaction the ambient one in its work', async () => {
      await bench.dataSource.transaction(async (manager) => {
        await run({ manager, propagation: 'mandatory' }, async () => {
          await add('joined');
          bench.publish('joined');
        });
        expect(bench.transactions.isActive()).toBe(false);
        expect(await bench.storedThings()).toEqual([]);
      });
      expect(await bench.storedThings()).toEqual(['joined']);
      expect(bench.listener.handedOver).toEqual(['joined']);
    });
  });

  describe('nested', () => {
    it('undoes its own part alone', async () => {
      await run({}, async () => {
        await add('a');
        bench.publish('m');
        const inner = run({ propagation: 'nested' }, async () => {
          await add('b');
          bench.publish('n');
          await run({ propagation: 'nested' }, async () => bench.publish('o'));
          throw failure;
        });
        await expect(inner).rejects.toBe(failure);
        await run({ propagation: 'nested' }, () => add('c'));
      });
      expect(await bench.storedThings()).toEqual(['a', 'c']);
      expect(await bench.storedMessages()).toEqual(['m']);
    });

    it('refuses its own release after a joined failure in it was caught, and spares the outer one', async () => {
      await run({}, async () => {
        await add('a');
        const inner = run({ propagation: 'nested', name: 'inner' }, async () => {
          await run({}, async () => {
            await add('b');
            throw failure;
          }).catch(() => undefined);
          bench.publish('n');
        });
        await expect(inner).rejects.toMatchObject({
          code: 'OUTBOX_TRANSACTION_ROLLBACK_ONLY',
          transaction: 'inner',
        });
      });
      expect(await bench.storedThings()).toEqual(['a']);
      expect(await bench.storedMessages()).toEqual([]);
    });

    it('opens a transaction where there is none', async () => {
      await run({ propagation: 'nested' }, async () => {
        await add('a');
        bench.publish('m');
      });
      expect(bench.listener.handedOver).toEqual(['m']);
    });

    it('waits for a sibling that runs at the same time; savepoints of one connection cannot interleave', async () => {
      let open = 0;
      const nested = (id: string, fails: boolean) =>
        run({ propagation: 'nested' }, async () => {
          expect(++open).toBe(1);
          await add(id);
          bench.publish(id);
          open -= 1;
          if (fails) throw failure;
        });
      await run({}, () =>
        Promise.allSettled([nested('a', false), nested('b', true), nested('c', false), nested('d', true)]),
      );
      expect(await bench.storedThings()).toEqual(['a', 'c']);
      expect(await bench.storedMessages()).toEqual(['a', 'c']);
    });

    it('does so for dataSource.transaction() inside as well', async () => {
      const nested = (id: string, fails: boolean) =>
        bench.dataSource.transaction(async (manager) => {
          await manager.insert(ThingSchema, { id });
          if (fails) throw failure;
        });
      await run({}, () => Promise.allSettled([nested('a', false), nested('b', true), nested('c', false)]));
      expect(await bench.storedThings()).toEqual(['a', 'c']);
    });

    it('refuses writes and messages of the outer scope meanwhile: its rollback would undo them, unseen', async () => {
      const opened = signal('the nested transaction');
      const go = signal('the end of the others');
      const refusals: unknown[] = [];
      await run({}, async () => {
        const nested = run({ propagation: 'nested' }, async () => {
          opened.fire();
          await go.wait();
        });
        await opened.wait();
        expect(await bench.things.count()).toBe(0); // reading does no harm
        refusals.push(await add('outer').catch((error: unknown) => error));
        refusals.push(await (async () => bench.publish('outer'))().catch((error: unknown) => error));
        go.fire();
        await nested;
        await add('afterwards');
      });
      const refused = expect.objectContaining({ code: 'OUTBOX_TRANSACTION_PROPAGATION' });
      expect(refusals).toEqual([refused, refused]);
      expect(await bench.storedThings()).toEqual(['afterwards']);
    });

    it('fails the whole, when nobody waited for it', async () => {
      const opened = signal('the nested transaction');
      const go = signal('the end of the outer one');
      let nested!: Promise<unknown>;
      const outer = run({}, async () => {
        await add('a');
        nested = run({ propagation: 'nested' }, async () => {
          opened.fire();
          await go.wait();
          await add('b');
        });
        nested.catch(() => undefined);
        await opened.wait();
      });
      await expect(outer).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_PROPAGATION' });
      go.fire();
      await expect(nested).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ENDED' });
      expect(await bench.storedThings()).toEqual([]);
    });

    it('is never half of it, when nobody waited for it and it was just about to begin', async () => {
      let nested!: Promise<string>;
      const outer = await outcomeOf(
        run({}, async () => {
          await add('a');
          nested = outcomeOf(run({ propagation: 'nested' }, () => add('b')));
        }),
      );
      expect(await nested).toBe('TransactionEndedError');
      // It never began, or the whole was rolled back and its caller was told.
      expect(await bench.storedThings()).toEqual(outer === 'resolves' ? ['a'] : []);
      await run({}, () => add('healthy'));
      expect(await bench.storedThings()).toContain('healthy');
    });
  });

  describe('requiresNew', () => {
    it('commits alone, and its outer one rolls back alone', async () => {
      const outer = run({}, async () => {
        await add('outer');
        bench.publish('outer');
        await run({ propagation: 'requiresNew' }, async () => {
          await add('inner');
          bench.publish('inner');
          await run({}, () => add('joins the inner'));
        });
        expect(await bench.storedThings()).toEqual(['inner', 'joins the inner']);
        expect(bench.listener.handedOver).toEqual(['inner']);
        throw failure;
      });
      await expect(outer).rejects.toBe(failure);
      expect(await bench.storedThings()).toEqual(['inner', 'joins the inner']);
      expect(await bench.storedMessages()).toEqual(['inner']);
      expect(bench.listener.escapes).toEqual([]);
    });

    it('fails alone', async () => {
      await run({}, async () => {
        await add('outer');
        const inner = run({ propagation: 'requiresNew' }, async () => {
          await add('inner');
          throw failure;
        });
        await expect(inner).rejects.toBe(failure);
      });
      expect(await bench.storedThings()).toEqual(['outer']);
    });

    it('gets a named error on an exhausted pool, and gives back the connection that comes late', async () => {
      const exhausted = run({}, async () => {
        await run({ propagation: 'requiresNew' }, async () => {
          await run({ propagation: 'requiresNew', name: 'third' }, () => add('never'));
        });
      });
      await expect(exhausted).rejects.toMatchObject({
        code: 'OUTBOX_CONNECTION_EXHAUSTED',
        transaction: 'third',
        waitedMs: 200,
      });
      // Both connections are there again, at the same time.
      await run({}, () => run({ propagation: 'requiresNew' }, () => add('healthy')));
      expect(await bench.storedThings()).toEqual(['healthy']);
    });
  });

  describe('mandatory', () => {
    it('joins, and is refused without a transaction', async () => {
      await run({}, () => run({ propagation: 'mandatory' }, () => add('a')));
      expect(await bench.storedThings()).toEqual(['a']);
      await expect(run({ propagation: 'mandatory', name: 'Orders.x' }, () => add('b'))).rejects.toMatchObject(
        {
          code: 'OUTBOX_TRANSACTION_REQUIRED',
          message: expect.stringContaining('Orders.x'),
        },
      );
      expect(() => bench.transactions.current()).toThrow(
        expect.objectContaining({ code: 'OUTBOX_TRANSACTION_REQUIRED' }),
      );
    });
  });

  describe('isolation', () => {
    it('is set where the transaction is opened, and told to whoever writes the messages', async () => {
      const show = bench.isMysql
        ? `SELECT trx_isolation_level AS level FROM information_schema.innodb_trx
           WHERE trx_mysql_thread_id = CONNECTION_ID()`
        : `SELECT current_setting('transaction_isolation') AS level`;
      await run({ isolation: 'SERIALIZABLE' }, async () => {
        await add('a');
        const [row] = await bench.dataSource.manager.query(show);
        expect(row.level.toUpperCase()).toBe('SERIALIZABLE');
        bench.publish('own');
      });
      await bench.dataSource.transaction('READ COMMITTED', async (manager) =>
        bench.publish('plain', manager),
      );
      await bench.dataSource.transaction(async (manager) => bench.publish('default', manager));
      expect(bench.listener.writes).toEqual([
        { ids: ['own'], isolation: 'SERIALIZABLE' },
        { ids: ['plain'], isolation: 'READ COMMITTED' },
        { ids: ['default'], isolation: null },
      ]);
    });

    it('is refused inside a transaction, which lives on', async () => {
      const refused = expect.objectContaining({ code: 'OUTBOX_TRANSACTION_PROPAGATION' });
      await run({}, async () => {
        await add('a');
        for (const propagation of ['required', 'nested', 'mandatory'] as const) {
          const asked = run({ propagation, isolation: 'SERIALIZABLE' }, async () => undefined);
          await expect(asked).rejects.toEqual(refused);
        }
        const { manager } = bench.dataSource;
        await expect(bench.dataSource.transaction('SERIALIZABLE', async () => undefined)).rejects.toEqual(
          refused,
        );
        const own = manager.queryRunner!.manager;
        await expect(own.transaction('SERIALIZABLE', async () => undefined)).rejects.toEqual(refused);
        await run({ propagation: 'requiresNew', isolation: 'SERIALIZABLE' }, () => add('new'));
        bench.publish('m');
      });
      expect(await bench.storedThings()).toEqual(['a', 'new']);
      expect(bench.listener.handedOver).toEqual(['m']);
    });
  });

  it('does not take a transaction for committed that its work ended by hand', async () => {
    const ended = run({}, async () => {
      await add('a');
      await bench.dataSource.manager.queryRunner!.rollbackTransaction();
      await add('b');
    });
    await expect(ended).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ENDED' });
    const silent = run({}, () => bench.dataSource.manager.queryRunner!.rollbackTransaction());
    await expect(silent).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ABORTED' });
    const open = run({}, async () => {
      await bench.dataSource.manager.queryRunner!.startTransaction();
      await add('c');
    });
    await expect(open).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_PROPAGATION' });
    expect(await bench.storedThings()).toEqual([]);
    await run({}, () => add('healthy'));
    expect(await bench.storedThings()).toEqual(['healthy']);
  });
});
