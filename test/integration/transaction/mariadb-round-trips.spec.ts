import { type QueryRunner } from 'typeorm';
import { execute } from '../../../lib/core/statement-runner';
import { waitFor } from '../../support/wait-for';
import { Bench, ThingSchema } from './bench';

type Done = (error: Error | null, answer?: unknown) => void;

/** `mysql2`'s connection, as far as the specs look into it. */
interface Client {
  query(sql: string, done: Done): void;
  execute(...args: unknown[]): void;
  /** What is prepared on it. */
  readonly _statements: { values(): IterableIterator<{ close(): void }> };
}

/** The driver's error when a statement was interrupted. */
const INTERRUPTED = Object.assign(new Error('Query execution was interrupted'), { errno: 1317 });

describe('round trips of a transaction on MariaDB', () => {
  let bench: Bench;
  let prepares = true;
  beforeAll(async () => {
    bench = await Bench.start('mysql', { poolSize: 1, preparesStatements: () => prepares });
  });
  afterAll(() => bench.stop());
  beforeEach(async () => {
    prepares = true;
    await bench.reset();
  });
  afterEach(() => {
    bench.dataSource.subscribers.splice(1);
  });

  const add = (id: string) => bench.things.insert({ id });
  const addAndPublish = async (): Promise<void> => {
    await add('a');
    bench.publish('m');
  };
  const stored = async () => [await bench.storedThings(), await bench.storedMessages()];

  async function nothingIsLeft(): Promise<void> {
    expect([...(await stored()), bench.listener.handedOver]).toEqual([[], [], []]);
    await bench.transactions.run({}, () => add('b'));
    expect(await bench.storedThings()).toEqual(['b']);
  }

  async function status(name: string): Promise<number> {
    const [row] = await bench.dataSource.query<{ Value: string }[]>(`SHOW SESSION STATUS LIKE '${name}'`);
    return Number(row?.Value);
  }

  /** How many statements the server was sent. */
  async function roundTrips(work: () => Promise<unknown>): Promise<number> {
    const before = await status('Questions');
    await work();
    return (await status('Questions')) - before - 1;
  }

  it('are as many with messages as without: they go together with COMMIT', async () => {
    const business = () => bench.transactions.run({}, () => add('a'));
    expect(await roundTrips(business)).toBe(3);
    await bench.reset();
    expect(await roundTrips(() => bench.transactions.run({}, addAndPublish))).toBe(3);
    expect(await stored()).toEqual([['a'], ['m']]);
    expect(bench.listener.handedOver).toEqual(['m']);
  });

  it('are as many for a transaction of the application, too', async () => {
    const count = await roundTrips(() =>
      bench.dataSource.transaction(async (manager) => {
        await manager.insert(ThingSchema, { id: 'a' });
        bench.publish('m', manager);
      }),
    );
    expect(count).toBe(3);
    expect(await stored()).toEqual([['a'], ['m']]);
    expect(bench.listener.handedOver).toEqual(['m']);
  });

  it('tell subscribers of each statement, in order', async () => {
    const heard: string[] = [];
    bench.dataSource.subscribers.push({
      beforeQuery: ({ query }) => void heard.push(`before ${query.slice(0, 14)}`),
      afterQuery: ({ query, success, rawResults }) =>
        void heard.push(
          `${success ? 'after' : 'failed'} ${query.slice(0, 14)} ${(rawResults as { affectedRows?: number }).affectedRows}`,
        ),
    });
    await bench.transactions.run({}, addAndPublish);
    expect(heard).toEqual([
      'before START TRANSACT',
      'after START TRANSACT 0',
      'before INSERT INTO `t',
      'after INSERT INTO `t 1',
      'before INSERT INTO pr',
      'before COMMIT',
      'after INSERT INTO pr 1',
      'after COMMIT 1',
    ]);
  });

  it('give the logger what TypeORM gives it', async () => {
    const typeOrms = await bench.logged(() =>
      bench.dataSource.transaction((manager) => manager.insert(ThingSchema, { id: 'a' })),
    );
    const ours = await bench.logged(() => bench.transactions.run({}, () => add('b')));
    const expected = (id: string): unknown[] => [
      ['START TRANSACTION', undefined],
      [expect.stringMatching(/^INSERT INTO `thing`/), [id]],
      ['COMMIT', undefined],
    ];
    expect(typeOrms).toEqual(expected('a'));
    expect(ours).toEqual(expected('b'));
  });

  it('give each statement its own answer, rows as well', async () => {
    const answers: unknown[] = [];
    const { listener } = bench;
    bench.dataSource.subscribers.push({
      afterQuery: ({ query, rawResults }) => {
        if (/^(SELECT id|UPDATE)/.test(query)) answers.push(rawResults);
      },
    });
    for (const named of [false, true]) {
      await bench.reset();
      listener.named = named;
      listener.more = [
        { sql: 'SELECT id FROM thing ORDER BY id', parameters: [], ...(named && { name: 'rows' }) },
        {
          sql: `UPDATE thing SET id = 'z' WHERE id = ?`,
          parameters: ['a'],
          ...(named && { name: 'changes' }),
        },
      ];
      await bench.transactions.run({}, addAndPublish);
      expect(await stored()).toEqual([['z'], ['m']]);
      // The server counts the rows of all of them together.
      expect(answers.splice(0)).toEqual([[{ id: 'a' }], expect.objectContaining({ affectedRows: 2 })]);
    }
  });

  it('let subscribers take their time at both ends of the transaction, and write there', async () => {
    const write = async (id: string, runner: QueryRunner): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      await runner.query(`INSERT INTO thing (id) VALUES (?)`, [id]);
    };
    bench.dataSource.subscribers.push({
      afterTransactionStart: ({ queryRunner }) => write('by the first hook', queryRunner),
      beforeTransactionCommit: async ({ queryRunner }) => {
        await write('by the last hook', queryRunner);
        bench.publish('by a hook', queryRunner);
      },
    });
    await bench.transactions.run({}, async () => bench.publish('m'));
    expect(await stored()).toEqual([
      ['by the first hook', 'by the last hook'],
      ['by a hook', 'm'],
    ]);
  });

  it.each(['beforeTransactionStart', 'afterTransactionStart', 'beforeTransactionCommit'])(
    'store nothing where a subscriber refuses in %s',
    async (hook) => {
      bench.dataSource.subscribers.push({
        [hook]: () => {
          throw new Error('not today');
        },
      });
      await expect(bench.transactions.run({}, addAndPublish)).rejects.toThrow('not today');
      bench.dataSource.subscribers.splice(1);
      await nothingIsLeft();
    },
  );

  it('send nothing when a subscriber refuses COMMIT', async () => {
    const statements: string[] = [];
    bench.dataSource.subscribers.push({
      beforeQuery: ({ query }) => {
        if (query === 'COMMIT') throw new Error('not today');
      },
      afterQuery: ({ query }) => void statements.push(query),
    });
    await expect(bench.transactions.run({}, addAndPublish)).rejects.toThrow('not today');
    expect(statements.at(-1)).toBe('ROLLBACK');
    bench.dataSource.subscribers.splice(1);
    await nothingIsLeft();
  });

  it('leave alone what a hook sends by the driver while COMMIT is announced', async () => {
    bench.dataSource.subscribers.push({
      beforeQuery: ({ query, queryRunner }) => {
        const { databaseConnection: client } = queryRunner as unknown as { databaseConnection: Client };
        if (query === 'COMMIT')
          client.query(`INSERT INTO thing (id) VALUES ('by the driver')`, () => undefined);
      },
    });
    await bench.transactions.run({}, addAndPublish);
    expect(await stored()).toEqual([['a', 'by the driver'], ['m']]);
  });

  it.each([false, true])('skip COMMIT when the messages cannot be written (prepared: %s)', async (named) => {
    bench.listener.named = named;
    await bench.observer.query(`INSERT INTO probe_outbox (id) VALUES ('m')`);
    await expect(bench.transactions.run({}, addAndPublish)).rejects.toMatchObject({ errno: 1062 });
    await bench.observer.query('DELETE FROM probe_outbox');
    await nothingIsLeft();
  });

  it.each([false, true])('send nothing when a value cannot be written (prepared: %s)', async (named) => {
    bench.listener.named = named;
    bench.listener.parameters = [
      {
        toSqlString: () => {
          throw new Error('no text');
        },
        toJSON: () => {
          throw new Error('no text');
        },
      },
    ];
    bench.listener.more = [{ sql: 'SELECT ?', parameters: ['x'], ...(named && { name: 'select' }) }];
    await expect(bench.transactions.run({}, addAndPublish)).rejects.toThrow('no text');
    await nothingIsLeft();
  });

  it('store no message by itself where the transaction was ended unseen', async () => {
    const work = bench.transactions.run({}, async () => {
      await add('a');
      await new Promise<void>((resolve, reject) => {
        const { databaseConnection: client } = bench.dataSource.manager.queryRunner as unknown as {
          databaseConnection: Client;
        };
        client.query('ROLLBACK', (error) => (error === null ? resolve() : reject(error)));
      });
      bench.publish('m');
    });
    await expect(work).rejects.toMatchObject({ code: 'OUTBOX_TRANSACTION_ABORTED' });
    await nothingIsLeft();
  });

  it('store nothing when the connection ends with them', async () => {
    const work = bench.transactions.run({}, async () => {
      await add('a');
      await bench.kill(await bench.connectionId(bench.transactions.current()));
      bench.publish('m');
    });
    await expect(work).rejects.toThrow();
    await nothingIsLeft();
  });

  describe('that are interrupted', () => {
    const waiting = (state: string) =>
      waitFor(
        async () => {
          const rows = await bench.observer.query<{ id: number }[]>(
            `SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND state LIKE '${state}'`,
          );
          return rows.length > 0 && rows[0]!.id;
        },
        { what: `a connection in the state ${state}` },
      );

    it('are committed where COMMIT was through, and their caller hears so', async () => {
      // The server's answer gets lost on its way, as when it is interrupted between COMMIT and the end of the block.
      const restore = await bench.onTheConnection((client: Client) => {
        const { execute: real } = client;
        client.execute = (...args) => {
          const done = args.pop() as Done;
          real.apply(client, [...args, () => done(INTERRUPTED)]);
        };
        return Promise.resolve(() => (client.execute = real));
      });
      bench.listener.named = true;
      bench.listener.more = [{ sql: 'SELECT 1', parameters: [], name: 'select' }];
      await bench.transactions.run({}, addAndPublish);
      restore();
      expect(await stored()).toEqual([['a'], ['m']]);
      expect(bench.listener.handedOver).toEqual(['m']);
    });

    it('are not committed where a statement before COMMIT was', async () => {
      const blocker = bench.observer.createQueryRunner();
      await blocker.startTransaction();
      await blocker.query(`INSERT INTO probe_outbox (id) VALUES ('m')`);
      const work = bench.transactions.run({}, addAndPublish);
      const outcome = expect(work).rejects.toMatchObject({ errno: 1317 });
      await bench.observer.query(`KILL QUERY ${await waiting('Update')}`);
      await outcome;
      await blocker.rollbackTransaction();
      await blocker.release();
      await nothingIsLeft();
    });

    it('are not committed where COMMIT itself was', async () => {
      const backup = bench.observer.createQueryRunner();
      try {
        await backup.query('BACKUP STAGE START');
        await backup.query('BACKUP STAGE BLOCK_COMMIT');
        const outcome = expect(bench.transactions.run({}, addAndPublish)).rejects.toThrow();
        await bench.observer.query(`KILL QUERY ${await waiting('Waiting for backup lock')}`);
        await outcome;
      } finally {
        await backup.query('BACKUP STAGE END');
        await backup.release();
      }
      await nothingIsLeft();
    });
  });

  describe('with named statements', () => {
    const probe = { name: 'probe', sql: 'SELECT ? AS n', parameters: ['1'] };
    const run = () => bench.transactions.run({}, () => execute(bench.transactions.current(), probe));
    const executed = async (work: () => Promise<unknown>): Promise<number> => {
      const before = await status('Com_stmt_execute');
      await work();
      return (await status('Com_stmt_execute')) - before;
    };

    it('let the server keep them, and send the text where it must not or does not', async () => {
      prepares = false;
      expect(await executed(run)).toBe(0);
      prepares = true;
      expect(await executed(run)).toBe(1);
      bench.listener.named = true;
      expect(await executed(() => bench.transactions.run({}, async () => bench.publish('m')))).toBe(1);
      // Somebody in between lost them: the transaction goes on.
      await bench.onTheConnection(async (client: Client) => {
        for (const statement of client._statements.values()) statement.close();
        await Promise.resolve();
      });
      expect(await run()).toEqual([{ n: '1' }]);
      expect(await executed(run)).toBe(0);
      expect(await executed(() => bench.transactions.run({}, async () => bench.publish('n')))).toBe(0);
      expect(await bench.storedMessages()).toEqual(['m', 'n']);
    });
  });
});

/** MySQL knows no such blocks. The server behind it is MariaDB; what it is taken for is what is tested. */
describe('round trips of a transaction on a server that says it is MySQL', () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.start('mysql', { poolSize: 1, preparesStatements: () => true });
    await bench.onTheConnection((client: { _handshakePacket: { serverVersion: string } }) => {
      client._handshakePacket.serverVersion = '8.0.36';
      return Promise.resolve();
    });
  });
  afterAll(() => bench.stop());

  it('are one more with messages than without', async () => {
    const statements: string[] = [];
    bench.dataSource.subscribers.push({
      beforeQuery: ({ query }) => void statements.push(`before ${/^\w+/.exec(query)?.[0]}`),
      afterQuery: ({ query }) => void statements.push(`after ${/^\w+/.exec(query)?.[0]}`),
    });
    await bench.transactions.run({}, async () => bench.publish('m'));
    const inTurn = ['START', 'INSERT', 'COMMIT'].flatMap((one) => [`before ${one}`, `after ${one}`]);
    expect(statements).toEqual(inTurn);
    expect(await bench.storedMessages()).toEqual(['m']);
    expect(bench.listener.handedOver).toEqual(['m']);
  });
});
