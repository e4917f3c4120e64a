import { Propagation } from '@nestjs-cls/transactional';
import { signal } from '../../support/signal';
import { Bench, ThingSchema, connect } from './bench';
import { type StartedHost, startTransactionHost } from './transaction-host';

const failure = new Error('the work failed');

describe('@nestjs-cls/transactional, joined by us', () => {
  let bench: Bench;
  let started: StartedHost;
  const hosts: unknown[] = [];
  beforeAll(async () => {
    bench = await Bench.start('postgres', { foreignHosts: () => hosts });
    started = await startTransactionHost(bench.dataSource);
    hosts.push(started.host);
  });
  afterAll(async () => {
    await started.close();
    await bench.stop();
  });
  beforeEach(() => bench.reset());

  const inTheirs = (work: () => Promise<void>) => started.host.withTransaction(work);
  const addTheirs = (id: string) => started.host.tx.insert(ThingSchema, { id });
  const add = (id: string) => bench.things.insert({ id });

  it('commits what both did, together; injected repositories join inside ours', async () => {
    await inTheirs(async () => {
      await addTheirs('theirs');
      await bench.transactions.run({}, async () => {
        await add('ours');
        bench.publish('m');
      });
      bench.publish('n');
      expect(await bench.storedThings()).toEqual([]);
    });
    expect(await bench.storedThings()).toEqual(['ours', 'theirs']);
    expect(bench.listener.handedOver).toEqual(['m', 'n']);
  });

  it('cannot commit when a part of ours failed, whoever caught that', async () => {
    const theirs = inTheirs(async () => {
      await addTheirs('theirs');
      await bench.transactions
        .run({ name: 'ours' }, async () => {
          await add('ours');
          throw failure;
        })
        .catch(() => undefined);
    });
    await expect(theirs).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ROLLBACK_ONLY', cause: failure });
    expect(await bench.storedThings()).toEqual([]);
  });

  it('is a savepoint in ours, where ours is the outer one', async () => {
    await bench.transactions.run({}, async () => {
      await inTheirs(async () => {
        await addTheirs('theirs');
        await started.host.withTransaction(Propagation.Nested, () => addTheirs('theirs, nested'));
        bench.publish('m');
        throw failure;
      }).catch(() => undefined);
      await add('ours');
      bench.publish('n');
    });
    expect(await bench.storedThings()).toEqual(['ours']);
    expect(bench.listener.handedOver).toEqual(['n']);
  });

  it('takes a savepoint of ours', async () => {
    await inTheirs(async () => {
      await addTheirs('theirs');
      await bench.transactions
        .run({ propagation: 'nested' }, async () => {
          await add('ours');
          bench.publish('m');
          throw failure;
        })
        .catch(() => undefined);
    });
    expect(await bench.storedThings()).toEqual(['theirs']);
    expect(bench.listener.handedOver).toEqual([]);
  });

  it('refuses a promise of ours that outlives it', async () => {
    const ended = signal('the end');
    let late!: Promise<unknown>;
    await inTheirs(() =>
      bench.transactions.run({}, async () => {
        late = ended.wait().then(() => add('late'));
      }),
    );
    ended.fire();
    await expect(late).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ENDED' });
    expect(await bench.storedThings()).toEqual([]);
  });

  it('is left by outside(), and a new one in there is met', async () => {
    await inTheirs(async () => {
      expect(bench.transactions.isActive()).toBe(true);
      await bench.transactions.outside(async () => {
        expect(bench.transactions.isActive()).toBe(false);
        bench.transactions.outside(() => expect(bench.transactions.isActive()).toBe(false));
        await started.host.withTransaction(Propagation.RequiresNew, async () => bench.publish('m'));
      });
      expect(bench.listener.handedOver).toEqual(['m']);
    });
  });

  it('stays out of a requiresNew of ours', async () => {
    await inTheirs(() =>
      bench.transactions.run({ propagation: 'requiresNew' }, async () => {
        await add('new');
        bench.publish('m');
      }),
    );
    expect(await bench.storedThings()).toEqual(['new']);
  });

  it('of another data source is none of ours', async () => {
    const other = await connect(bench.database, 1);
    const otherHost = await startTransactionHost(other);
    hosts.unshift(otherHost.host);
    try {
      await otherHost.host.withTransaction(async () => {
        expect(bench.transactions.isActive()).toBe(false);
        expect(() => bench.publish('m')).toThrow(
          expect.objectContaining({ code: 'OUTBOX_TRANSACTION_REQUIRED' }),
        );
      });
    } finally {
      hosts.shift();
      await otherHost.close();
      await other.destroy();
    }
  });
});
