import { type QueryRunner } from 'typeorm';
import { type StatementRunner } from '../../../lib/core/statement-runner';
import { execute } from '../../../lib/core/statement-runner';
import { Bench, ThingSchema, outcomeOf } from './bench';

/** `pg`'s client, as far as the specs look into it. */
interface Client {
  query: unknown;
  on(event: string, listener: () => void): void;
  connection: {
    on(event: string, listener: () => void): void;
    off(event: string, listener: () => void): void;
  };
}

describe('round trips of a transaction on postgres', () => {
  let bench: Bench;
  let prepares = true;
  beforeAll(async () => {
    bench = await Bench.start('postgres', { poolSize: 1, preparesStatements: () => prepares });
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

  /** How often the server said that it is ready for more. */
  async function roundTrips(work: () => Promise<unknown>): Promise<number> {
    let count = 0;
    const listener = (): void => void (count += 1);
    const { connection } = await bench.onTheConnection((client: Client) => Promise.resolve(client));
    connection.on('readyForQuery', listener);
    await work();
    connection.off('readyForQuery', listener);
    return count;
  }

  /** Each client's way to be queried: made once, however many transactions there are. */
  const queryOf = new WeakMap<Client, unknown>();

  async function isIdle(): Promise<void> {
    await bench.onTheConnection(async (client: Client, runner) => {
      expect(client.query).toBe(queryOf.get(client) ?? client.query);
      queryOf.set(client, client.query);
      expect(await runner.query('SELECT now() = statement_timestamp() AS alone')).toEqual([{ alone: true }]);
    });
  }

  it('are two with a statement and a message: BEGIN goes with the one, COMMIT with the other', async () => {
    const count = await roundTrips(() =>
      bench.transactions.run({}, async () => {
        await add('a');
        bench.publish('m');
      }),
    );
    expect(count).toBe(2);
    expect([await bench.storedThings(), await bench.storedMessages()]).toEqual([['a'], ['m']]);
    expect(bench.listener.handedOver).toEqual(['m']);
    await isIdle();
  });

  it('are one where there is nothing but messages, and one where there is nothing at all', async () => {
    const publishing = () => bench.transactions.run({}, async () => bench.publish('m'));
    expect(await roundTrips(publishing)).toBe(1);
    expect(await bench.storedMessages()).toEqual(['m']);
    expect(await roundTrips(() => bench.transactions.run({}, async () => undefined))).toBe(1);
    await isIdle();
  });

  it('are three with a statement of ours in front: BEGIN goes with that one', async () => {
    const probe = { name: 'round_trips_first', sql: 'SELECT $1::int AS n', parameters: [1] };
    const count = await roundTrips(() =>
      bench.transactions.run({}, async () => {
        expect(await execute(bench.transactions.current(), probe)).toEqual([{ n: 1 }]);
        await add('a');
      }),
    );
    expect(count).toBe(3);
    expect(await bench.storedThings()).toEqual(['a']);
    await isIdle();
  });

  it('describe no answer whose columns are known, and read it all the same', async () => {
    const sql = `SELECT n::text, CASE n WHEN 2 THEN NULL ELSE 'odd' END FROM generate_series(1, $1::int) AS n`;
    const known = { name: 'round_trips_known', sql, parameters: [3], columns: ['n', 'parity'] };
    const rows = [
      { n: '1', parity: 'odd' },
      { n: '2', parity: null },
      { n: '3', parity: 'odd' },
    ];
    const heard: unknown[] = [];
    bench.dataSource.subscribers.push({
      afterQuery: ({ query, rawResults }) => {
        if (query === sql) heard.push((rawResults as { rows: unknown }).rows);
      },
    });
    const { connection } = await bench.onTheConnection((client: Client) => Promise.resolve(client));
    let described = 0;
    const listener = (): void => void (described += 1);
    connection.on('rowDescription', listener);
    await bench.transactions.run({}, async () => {
      expect(await execute(bench.transactions.current(), known)).toEqual(rows);
      // Both behind BEGIN and without it, and as another statement's neighbour.
      expect(await execute(bench.transactions.current(), known)).toEqual(rows);
      expect(described).toBe(0);
      expect(await execute(bench.transactions.current(), { ...known, columns: [] })).toEqual([{}, {}, {}]);
      expect(await bench.things.find()).toEqual([]);
      expect(described).toBe(1);
      bench.publish('m');
    });
    connection.off('rowDescription', listener);
    expect(heard).toEqual([rows, rows, [{}, {}, {}]]);
    expect(await bench.storedMessages()).toEqual(['m']);
    await isIdle();
  });

  it('are two for a transaction of the application that publishes, besides its own statements', async () => {
    const count = await roundTrips(() =>
      bench.dataSource.transaction(async (manager) => {
        await manager.insert(ThingSchema, { id: 'a' });
        bench.publish('m', manager);
      }),
    );
    expect(count).toBe(3);
    expect(bench.listener.handedOver).toEqual(['m']);
  });

  it('tell subscribers and the logger of each statement, in order', async () => {
    const heard: string[] = [];
    bench.dataSource.subscribers.push({
      beforeQuery: ({ query }) => void heard.push(`before ${query.slice(0, 14)}`),
      afterQuery: ({ query, success }) =>
        void heard.push(`${success ? 'after' : 'failed'} ${query.slice(0, 14)}`),
    });
    await bench.transactions.run({}, async () => {
      await add('a');
      bench.publish('m');
    });
    expect(heard).toEqual([
      'before START TRANSACT',
      'after START TRANSACT',
      'before INSERT INTO "t',
      'after INSERT INTO "t',
      'before INSERT INTO pr',
      'before COMMIT',
      'after INSERT INTO pr',
      'after COMMIT',
    ]);
  });

  it('let subscribers take their time at both ends of the transaction', async () => {
    const heard: string[] = [];
    const note = async (what: string, { isTransactionActive }: QueryRunner): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      heard.push(`${what} ${isTransactionActive ? 'active' : 'over'}`);
    };
    const write = async (id: string, runner: QueryRunner): Promise<void> => {
      await runner.query(`INSERT INTO thing (id) VALUES ($1)`, [id]);
    };
    bench.dataSource.subscribers.push({
      beforeTransactionStart: ({ queryRunner }) => note('before start', queryRunner),
      afterTransactionStart: async ({ queryRunner }) => {
        await note('after start', queryRunner);
        await write('by the first hook', queryRunner);
      },
      beforeTransactionCommit: async ({ queryRunner }) => {
        await note('before commit', queryRunner);
        await write('by the last hook', queryRunner);
        bench.publish('by a hook', queryRunner);
      },
      afterTransactionCommit: ({ queryRunner }) => note('after commit', queryRunner),
    });
    await bench.transactions.run({}, async () => {
      heard.push('work');
      bench.publish('m');
    });
    expect(heard).toEqual([
      'before start active',
      'after start active',
      'work',
      'before commit active',
      'after commit over',
    ]);
    expect(await bench.storedThings()).toEqual(['by the first hook', 'by the last hook']);
    expect(await bench.storedMessages()).toEqual(['by a hook', 'm']);
    await isIdle();
  });

  it.each([
    ['beforeTransactionStart', []],
    ['afterTransactionStart', ['START TRANSACTION', 'ROLLBACK']],
    ['beforeTransactionCommit', ['START TRANSACTION', 'INSERT', 'ROLLBACK']],
  ] as const)('store nothing where a subscriber refuses in %s', async (hook, statements) => {
    const sent: string[] = [];
    bench.dataSource.subscribers.push({
      [hook]: () => {
        throw new Error('not today');
      },
      afterQuery: ({ query }) => void sent.push(query.replace(/^INSERT .*/s, 'INSERT')),
    });
    const work = bench.transactions.run({}, async () => {
      await add('a');
      bench.publish('m');
    });
    await expect(work).rejects.toThrow('not today');
    expect(sent).toEqual(statements);
    bench.dataSource.subscribers.splice(1);
    expect([await bench.storedThings(), await bench.storedMessages()]).toEqual([[], []]);
    await isIdle();
    await bench.transactions.run({}, () => add('b'));
    expect(await bench.storedThings()).toEqual(['b']);
  });

  it('give the logger what TypeORM gives it', async () => {
    const typeOrms = await bench.logged(() =>
      bench.dataSource.transaction((manager) => manager.insert(ThingSchema, { id: 'a' })),
    );
    const ours = await bench.logged(() => bench.transactions.run({}, () => add('b')));
    const expected = (id: string): unknown[] => [
      ['START TRANSACTION', undefined],
      [expect.stringMatching(/^INSERT INTO "thing"/), [id]],
      ['COMMIT', undefined],
    ];
    expect(typeOrms).toEqual(expected('a'));
    expect(ours).toEqual(expected('b'));
  });

  it('skip COMMIT when the messages cannot be written', async () => {
    await bench.observer.query(`INSERT INTO probe_outbox (id) VALUES ('m')`);
    const work = bench.transactions.run({}, async () => {
      await add('a');
      bench.publish('m');
    });
    await expect(work).rejects.toThrow(/duplicate key value/);
    expect(await bench.storedThings()).toEqual([]);
    expect(bench.listener.handedOver).toEqual([]);
    await isIdle();
  });

  it.each([
    ['an answer that is known', []],
    ['an answer that is described', undefined],
  ])(
    'send nothing, and no COMMIT, when a value of theirs cannot be written, with %s',
    async (_what, columns) => {
      bench.listener.columns = columns;
      const circle: Record<string, unknown> = {};
      circle.self = circle;
      bench.listener.parameters = [circle];
      const work = bench.transactions.run({}, async () => {
        await add('a');
        bench.publish('m');
      });
      await expect(work).rejects.toThrow(/circular/i);
      expect([await bench.storedThings(), await bench.storedMessages()]).toEqual([[], []]);
      expect(bench.listener.handedOver).toEqual([]);
      await isIdle();
      const statement = { name: 'round_trips_circle', sql: 'SELECT $1::json', parameters: [circle], columns };
      const alone = bench.transactions.run({}, () => execute(bench.transactions.current(), statement));
      await expect(alone).rejects.toThrow(/circular/i);
      await isIdle();
    },
  );

  it('send nothing when a subscriber refuses COMMIT', async () => {
    const statements: string[] = [];
    bench.dataSource.subscribers.push({
      beforeQuery: ({ query }) => {
        if (query === 'COMMIT') throw new Error('not today');
      },
      afterQuery: ({ query }) => void statements.push(query.slice(0, 11)),
    });
    const work = bench.transactions.run({}, async () => {
      await add('a');
      bench.publish('m');
    });
    await expect(work).rejects.toThrow('not today');
    expect(await bench.storedThings()).toEqual([]);
    expect(statements.at(-1)).toBe('ROLLBACK');
    await isIdle();
  });

  it('refuse what is published once the messages are on their way', async () => {
    const late: string[] = [];
    bench.dataSource.subscribers.push({
      beforeQuery: async ({ query, queryRunner }) => {
        if (!query.startsWith('INSERT INTO probe_outbox')) return;
        late.push(await outcomeOf(Promise.resolve().then(() => bench.publish('late', queryRunner))));
      },
    });
    await bench.transactions.run({}, async () => {
      await add('a');
      bench.publish('m');
    });
    expect(late).toEqual(['TransactionEndedError']);
    expect(await bench.storedMessages()).toEqual(['m']);
  });

  it.each<[string, RegExp, () => Promise<unknown>]>([
    ["a statement of the application's", /current transaction is aborted/, () => add('a')],
    [
      'a statement of ours',
      /current transaction is aborted/,
      () =>
        execute(bench.transactions.current(), {
          name: 'round_trips_insert',
          sql: 'INSERT INTO thing (id) VALUES ($1)',
          parameters: ['a'],
        }),
    ],
    ['messages alone', /a statement in it had failed/, () => Promise.resolve(bench.publish('m'))],
  ])('skip %s when BEGIN fails, so that it never runs by itself', async (_what, message, work) => {
    // Somebody gave the connection back inside a transaction that has failed: there, BEGIN is an error.
    await bench.onTheConnection(async (_client, runner) => {
      await runner.query('BEGIN');
      await runner.query('SELECT 1 / 0').catch(() => undefined);
    });
    await expect(
      bench.transactions.run({}, async () => {
        await work();
      }),
    ).rejects.toThrow(message);
    expect([await bench.storedThings(), await bench.storedMessages()]).toEqual([[], []]);
    expect(bench.listener.handedOver).toEqual([]);
    await bench.transactions.run({}, () => add('b'));
    expect(await bench.storedThings()).toEqual(['b']);
    await isIdle();
  });

  it('leave a first statement alone that may be several', async () => {
    await bench.transactions.run({}, async () => {
      await bench.dataSource.manager.query(
        `INSERT INTO thing (id) VALUES ('a'); INSERT INTO thing (id) VALUES ('b')`,
      );
      bench.publish('m');
    });
    expect(await bench.storedThings()).toEqual(['a', 'b']);
    await isIdle();
  });

  it('keep the order of statements that nobody waits for', async () => {
    const insert = (id: string) => bench.dataSource.manager.query(`INSERT INTO thing (id) VALUES ('${id}')`);
    const rename = `UPDATE thing SET id = $1 WHERE id = $2`;
    const inOrder = async (...work: (() => Promise<unknown>)[]): Promise<void> => {
      await bench.transactions.run({}, () => Promise.all(work.map((step) => step())));
    };
    await inOrder(
      () => insert('a'),
      () => bench.dataSource.manager.query(rename, ['b', 'a']),
      () => bench.dataSource.manager.query(rename, ['c', 'b']),
    );
    expect(await bench.storedThings()).toEqual(['c']);
    await inOrder(
      () => bench.dataSource.manager.query(rename, ['d', 'c']),
      () => insert('c'),
    );
    expect(await bench.storedThings()).toEqual(['c', 'd']);
    await isIdle();
  });

  it('keep the answer of a first statement as it always is', async () => {
    const sql = `SELECT $1::bigint AS number, $2::timestamptz AS moment, $3::jsonb AS document`;
    const values = ['12345678901234567', '2026-01-02T03:04:05Z', '{"a":1}'];
    const within = await bench.transactions.run({}, () => bench.dataSource.manager.query(sql, values));
    expect(within).toEqual(await bench.dataSource.query(sql, values));
  });

  it('end well where the first statement cannot be sent, fails, or is missing', async () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    const query = (sql: string, values: unknown[]) =>
      bench.transactions.run({}, () => bench.dataSource.manager.query(sql, values));
    await expect(query('SELECT $1::json', [circle])).rejects.toThrow(/circular/i);
    await isIdle();
    await expect(query('SELECT 1 / $1::int', [0])).rejects.toThrow('division by zero');
    await isIdle();
    await bench.transactions.run({}, () => Promise.resolve());
    await isIdle();
    await bench.transactions.run({}, async () => bench.publish('m'));
    expect(await bench.storedMessages()).toEqual(['m']);
    await isIdle();
  });

  it('set the isolation level before the first statement', async () => {
    const [level] = await bench.transactions.run<{ level: string }[]>({ isolation: 'SERIALIZABLE' }, () =>
      bench.dataSource.manager.query(`SELECT current_setting($1) AS level`, ['transaction_isolation']),
    );
    expect(level).toEqual({ level: 'serializable' });
  });

  it('store nothing when the connection ends with them', async () => {
    const work = bench.transactions.run({}, async () => {
      await add('a');
      await bench.kill(await bench.connectionId(bench.transactions.current()));
      bench.publish('m');
    });
    await expect(work).rejects.toThrow();
    expect([await bench.storedThings(), await bench.storedMessages()]).toEqual([[], []]);
    expect(bench.listener.handedOver).toEqual([]);
    await isIdle();
  });

  describe('with named statements', () => {
    const probe = { name: 'round_trips_probe', sql: 'SELECT $1::int AS n', parameters: [1] };
    const kept = (statements: StatementRunner) =>
      statements.query(`SELECT name FROM pg_prepared_statements WHERE name = $1`, [probe.name]);

    // Before a name is lost: from then on, none is given on this connection.
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    it.each<[string, string, unknown, RegExp]>([
      ['the server skipped it, behind one that failed', 'm', 'x', /duplicate key/],
      ['it was not sent, beside one with a value that cannot be written', 'o', circle, /circular/i],
    ])('keep a name usable where %s', async (_what, id, value, message) => {
      await bench.observer.query(`INSERT INTO probe_outbox (id) VALUES ('m')`);
      const { listener } = bench;
      const sql = `SELECT '${id}', $1::text`;
      listener.more = [
        { name: `round_trips_more_${id}`, sql, parameters: ['x'], columns: ['id', 'text'] },
        { sql: 'SELECT $1::text', parameters: [value], columns: [] },
      ];
      const publish = (one: string) => bench.transactions.run({}, async () => bench.publish(one));
      await expect(publish(id)).rejects.toThrow(message);
      listener.more.pop();
      await publish('n');
      expect(await bench.storedMessages()).toEqual(['m', 'n']);
    });

    it('let the server keep them, and send the text where it does not', async () => {
      const run = () =>
        bench.transactions.run({}, async () => {
          const statements = bench.transactions.current();
          expect(await execute(statements, probe)).toEqual([{ n: 1 }]);
          return kept(statements);
        });
      prepares = false;
      expect(await run()).toEqual([]);
      prepares = true;
      expect(await run()).toEqual([{ name: probe.name }]);
      // A name that is lost costs its transaction, once.
      await bench.dataSource.query('DISCARD ALL');
      await expect(run()).rejects.toThrow(/does not exist/);
      expect(await run()).toEqual([]);
    });

    it('refuse them like any other once the scope has ended', async () => {
      const statements = await bench.transactions.run({}, () =>
        Promise.resolve(bench.transactions.current()),
      );
      await expect(execute(statements, probe)).rejects.toThrow('released');
    });
  });
});
