import { randomUUID } from 'node:crypto';
import type { QueryRunner } from 'typeorm';
import { systemClock } from '../../../lib/core/clock';
import type { HotStatement } from '../../../lib/core/statement-runner';
import { mysqlDialect } from '../../../lib/store/dialects/mysql';
import { MysqlInspection } from '../../../lib/store/dialects/mysql/inspection';
import { postgresDialect } from '../../../lib/store/dialects/postgres';
import { PostgresInspection } from '../../../lib/store/dialects/postgres/inspection';
import { RelayDataSource } from '../../../lib/store/relay-data-source';
import { TypeOrmAlarmStore } from '../../../lib/store/typeorm-alarm-store';
import { TypeOrmOutboxStore } from '../../../lib/store/typeorm-outbox-store';
import {
  born,
  hashOf,
  message,
  openStores,
  type StoreFixture,
  terms,
} from '../../contracts/outbox-store.harness';
import type { TestDatabaseType } from '../../support/shared-servers';

const HISTORY = 12_000;
const DUE = 20;
const KEYS = Array.from({ length: DUE }, (_, n) => `k${n}`);

/** Those that the server keeps planned, where it can. */
const HOT = new Set([
  'claim',
  'claim of two transports',
  'claim of nothing',
  'nextDueInMs',
  'extend',
  'release',
  'fail',
  'complete',
  'promote',
  'completeAndPromote',
  'promote of a key with a thousand blocked rows',
]);

/**
 * Rows that are sent, delayed, blocked, dead, or wait for a paused transport must cost a claim nothing. Told by what the
 * server itself counts while it runs the very statements of the store, with as many of each as make a scan stand out; and
 * told again, as the optimizer's figures are those of an empty table first, or of one in which all is sent, as it mostly is,
 * and then those of the full one.
 */
describe.each([
  ['postgres', 'empty'],
  ['postgres', 'all sent'],
  ['mysql', 'empty'],
  ['mysql', 'all sent'],
] as const)(
  'Every statement of the store on %s looks at its own rows alone, where the table was %s',
  (type, early) => {
    let fixture: StoreFixture;
    let relay: RelayDataSource;
    let prepared: PreparedEarly | null = null;
    let store: TypeOrmOutboxStore;
    let alarms: TypeOrmAlarmStore;

    beforeAll(async () => {
      fixture = await openStores(type, { isolation: 'READ COMMITTED' });
      relay = new RelayDataSource(fixture.dataSource, 1);
      const { outbox, alarms: dialect } = (type === 'postgres' ? postgresDialect : mysqlDialect)(
        fixture.names,
        'park',
        30_000,
      );
      const verify = (): Promise<void> => Promise.resolve();
      store = new TypeOrmOutboxStore({
        database: relay,
        outbox,
        notifications: null,
        clock: systemClock,
        verify,
      });
      alarms = new TypeOrmAlarmStore(relay, dialect, outbox.rowsMax);
      if (early === 'all sent') {
        await fillSent(fixture);
        await analyze();
      }
      if (type === 'postgres') {
        prepared = await PreparedEarly.open(fixture);
        const ids = [randomUUID()];
        for (const [, work] of workload) await prepared.prepare(relay, () => work({ ids, limit: DUE }));
        await prepared.costOfWrite(store, 'early');
      }
      if (early === 'empty') await fillSent(fixture);
      await fill(fixture);
    }, 120_000);
    afterAll(async () => {
      await prepared?.close();
      await store?.close();
      await fixture?.drop();
    });

    const analyze = (): Promise<unknown> =>
      fixture.query(`${type === 'postgres' ? 'ANALYZE' : 'ANALYZE TABLE'} ${fixture.names.message}`);

    const workload: [name: string, work: (rows: Work) => Promise<unknown>, mostRows: number][] = [
      ['claim', ({ limit }) => store.claim(['default'], limit, terms()), 8 * DUE],
      ['claim of two transports', ({ limit }) => store.claim(['default', 'nobody'], limit, terms()), 8 * DUE],
      ['claim of nothing', () => store.claim(['nobody'], DUE, terms()), 10],
      ['nextDueInMs', () => store.nextDueInMs(['default', 'nobody']), 10],
      ['extend', ({ ids }) => store.extend(ids, 'nobody', 1), 8 * DUE],
      [
        'release',
        ({ ids }) => store.release(ids.map((id) => ({ id, token: 'nobody', afterMs: 0 }))),
        8 * DUE,
      ],
      [
        'fail',
        ({ ids }) => store.fail(ids.map((id) => ({ id, token: 'nobody', error: 'x', retryInMs: 1 }))),
        8 * DUE,
      ],
      ['heard', ({ ids }) => alarms.heard(ids.map((id) => ({ id, sinceMs: 0 }))), 8 * DUE],
      ['complete', ({ ids }) => store.complete(ids), 8 * DUE],
      ['promote', () => store.promote(KEYS.map(hashOf), terms()), 12 * DUE],
      [
        'completeAndPromote',
        ({ ids }) =>
          store.completeAndPromote(
            ids.map((id, n) => ({ id, keyHash: hashOf(KEYS[n] as string) })),
            terms(),
            { count: 0, bytes: 0 },
          ),
        20 * DUE,
      ],
      [
        'completeAndPromote with a look at what waits behind, in a key with a thousand blocked rows',
        async () => {
          const [head] = (await fixture.query(
            `SELECT id FROM ${fixture.names.message} WHERE status = 'pending' AND key_hash = ${hashOf('busy')}`,
          )) as { id: string }[];
          const completions = [{ id: head?.id ?? randomUUID(), keyHash: hashOf('busy') }];
          const { ahead } = await store.completeAndPromote(completions, terms(), {
            count: 10,
            bytes: 100_000,
          });
          // When the table is still empty, the statement is only to be planned.
          expect(ahead).toHaveLength(head === undefined ? 0 : 10);
        },
        100,
      ],
      [
        'completeAndPromote with a look behind what was read, in a key with a thousand blocked rows',
        async () => {
          const rows = (await fixture.query(
            `SELECT id FROM ${fixture.names.message} WHERE status = 'blocked' AND key_hash = ${hashOf('busy')}
             ORDER BY seq LIMIT 10`,
          )) as { id: string }[];
          const [first, last] = [rows[0]?.id ?? randomUUID(), rows.at(-1)?.id ?? randomUUID()];
          const { further } = await store.completeAndPromote([{ id: first, keyHash: null }], terms(), {
            count: 10,
            bytes: 100_000,
            behind: [last],
          });
          expect(further).toHaveLength(rows.length);
        },
        100,
      ],
      ['promote of a key with a thousand blocked rows', () => store.promote([hashOf('busy')], null), 20],
      // MariaDB reads a bounded part of the index instead of hopping through it; and writes and reads what it found.
      ['sweep', () => store.sweep(2 * DUE), type === 'postgres' ? 20 * DUE : 10_000],
      ['quarantine', () => store.quarantine(5, DUE), type === 'postgres' ? 8 * DUE : 5_000],
      ['purge', () => store.purge({ status: 'sent', olderThanMs: 3_600_000, limit: DUE }), 8 * DUE],
      [
        'purge of dead letters',
        () => store.purge({ status: 'dead_letter', olderThanMs: 60_000, limit: DUE }),
        8 * DUE,
      ],
      ['takeDue of alarms, among thousands that were heard', () => alarms.takeDue(DUE), 10],
      ['purge of nothing', () => store.purge({ status: 'cancelled', olderThanMs: 0, limit: DUE }), 10],
    ];

    describe.each([
      ['with the figures of then', false],
      ['with figures up to date', true],
    ])('%s', (_, analyzed) => {
      beforeAll(async () => {
        if (analyzed) await analyze();
      });

      it.each(workload)('%s', async (_, work, mostRows) => {
        const ids = (await store.claim(['default'], DUE, terms({ token: 'workload' }))).map(({ id }) => id);
        expect(await costOf(type, relay, () => work({ ids, limit: DUE }))).toBeLessThanOrEqual(mostRows);
      });

      if (type === 'postgres') {
        it.each(workload.filter(([name]) => HOT.has(name)))(
          '%s, by a plan that was made once for all parameters',
          async (_, work, mostRows) => {
            const ids = (await store.claim(['default'], DUE, terms({ token: 'workload' }))).map(
              ({ id }) => id,
            );
            const cost = await prepared?.costOf(relay, () => work({ ids, limit: DUE }));
            expect(cost).toBeLessThanOrEqual(mostRows);
          },
        );
      }

      it('inspect, of a sent row, of a pending one, and of nothing', async () => {
        const idOf = async (where: string): Promise<string> => {
          const rows = await fixture.query(`SELECT id FROM ${fixture.names.message} WHERE ${where} LIMIT 1`);
          return (rows as [{ id: string }])[0].id;
        };
        const some = [
          await idOf(`type = 'first'`),
          // Not the head of the busy key: all that it holds back would be counted.
          await idOf(`transport = 'paused' AND status = 'pending' AND key_hash IS NULL`),
        ];
        for (const id of [...some, randomUUID()]) {
          expect(await costOf(type, relay, () => store.inspect(id))).toBeLessThanOrEqual(20);
        }
      });

      it('parked keys', async () => {
        const { parked } = new (type === 'postgres' ? PostgresInspection : MysqlInspection)(
          fixture.names,
          'park',
        );
        // PostgreSQL hops from dead key to dead key; MariaDB reads the dead letters of the index.
        const mostRows = type === 'postgres' ? 20 : HISTORY + 20;
        expect(await costOf(type, relay, () => relay.query(parked))).toBeLessThanOrEqual(mostRows);
      });

      it.each(['k0', 'busy', 'grave', 'new'])('write of one message, of the key %s', async (key) => {
        const runner = await fixture.begin('READ COMMITTED');
        const cost = await costOf(type, runner, () => store.write(runner, [message({ key })], born()));
        expect(cost).toBeLessThanOrEqual(type === 'postgres' ? 1 : 10);
        await runner.rollbackTransaction();
        await runner.release();
        if (type === 'mysql') return;
        expect(await prepared?.costOfWrite(store, key)).toBeLessThanOrEqual(1);
      });

      it('write', async () => {
        const runner = await fixture.begin('READ COMMITTED');
        const messages = [
          ...KEYS.map((key) => message({ key })),
          message({ key: 'busy' }),
          message({ key: 'new' }),
        ];
        const cost = await costOf(type, runner, () => store.write(runner, messages, born()));
        expect(cost).toBeLessThanOrEqual(12 * DUE);
        await runner.rollbackTransaction();
        await runner.release();
      });
    });
  },
);

interface Work {
  readonly ids: string[];
  readonly limit: number;
}

interface Queries {
  query(sql: string, parameters?: unknown[]): Promise<unknown>;
}

/** How many rows and index entries the server read. */
async function costOf(
  type: TestDatabaseType,
  runner: RelayDataSource | Queries,
  work: () => Promise<unknown>,
): Promise<number> {
  return type === 'mysql' ? readsOf(runner, work) : planRowsOf(runner, work);
}

/** MariaDB counts what the storage engine was asked for, by session; the relay has one. */
async function readsOf(runner: Queries, work: () => Promise<unknown>): Promise<number> {
  const count = async (): Promise<number> => {
    const rows = (await runner.query(`SHOW SESSION STATUS LIKE 'Handler_read%'`)) as { Value: string }[];
    return rows.reduce((sum, { Value }) => sum + Number(Value), 0);
  };
  const before = await count();
  await work();
  const reads = (await count()) - before;
  expect(reads).toBeGreaterThan(0);
  return reads;
}

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Rows Removed by Index Recheck'?: number;
  readonly Plans?: readonly PlanNode[];
}

/** PostgreSQL explains each statement as it runs it: the rows that its scans gave, and those that they threw away. */
async function planRowsOf(runner: Queries, work: () => Promise<unknown>): Promise<number> {
  let [rows, statements] = [0, 0];
  const send = runner.query.bind(runner);
  const spy = jest.spyOn(runner, 'query').mockImplementation(async (sql, parameters) => {
    const inner = sql.startsWith('SELECT pg_advisory');
    if (!inner) {
      const undone = `EXPLAIN (ANALYZE, FORMAT JSON) ${sql}`;
      const plan = (await explain(runner, send, undone, parameters)) as {
        'QUERY PLAN': { Plan: PlanNode }[];
      }[];
      statements += 1;
      rows += scannedBy(plan[0]?.['QUERY PLAN'][0]?.Plan as PlanNode);
    }
    return send(sql, parameters);
  });
  const past =
    runner instanceof RelayDataSource
      ? jest.spyOn(runner, 'execute').mockImplementation((hot) => runner.query(hot.sql, hot.parameters))
      : null;
  await work().finally(() => {
    spy.mockRestore();
    past?.mockRestore();
  });
  expect(statements).toBeGreaterThan(0);
  return rows;
}

/**
 * A connection that has the hot statements since the table was empty, and plans each one once, without looking at its
 * parameters: the worst that the server may make of a statement with a name.
 */
class PreparedEarly {
  private readonly known = new Set<string>();

  private constructor(
    private readonly database: RelayDataSource,
    private readonly runner: QueryRunner,
  ) {}

  static async open({ dataSource }: StoreFixture): Promise<PreparedEarly> {
    const database = new RelayDataSource(dataSource, 1);
    const runner = await database.connect();
    await runner.query('SET plan_cache_mode = force_generic_plan');
    return new PreparedEarly(database, runner);
  }

  prepare(relay: RelayDataSource, work: () => Promise<unknown>): Promise<number> {
    return this.watch(relay, work, async ({ name, sql, parameters }) => {
      if (!this.known.has(name)) await this.runner.query(`PREPARE ${name} AS ${sql}`);
      this.known.add(name);
      await this.undone(`EXECUTE ${name} (${parameters.map(literal).join(', ')})`);
      return 0;
    });
  }

  async costOf(relay: RelayDataSource, work: () => Promise<unknown>): Promise<number> {
    let seen = 0;
    const rows = await this.watch(relay, work, async ({ name, parameters }) => {
      seen += 1;
      const plan = (await this.undone(
        `EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE ${name} (${parameters.map(literal).join(', ')})`,
      )) as { 'QUERY PLAN': { Plan: PlanNode }[] }[];
      return scannedBy(plan[0]?.['QUERY PLAN'][0]?.Plan as PlanNode);
    });
    expect(seen).toBeGreaterThan(0);
    return rows;
  }

  /** The same of the INSERT of one message with that key. As in the library, it is planned with scans forbidden. */
  async costOfWrite(store: TypeOrmOutboxStore, key: string): Promise<number> {
    let rows: number | undefined;
    const query = async (sql: string, parameters: unknown[] = []): Promise<unknown[]> => {
      if (!sql.startsWith('INSERT')) return [];
      if (!this.known.has('write')) await this.runner.query(`PREPARE write AS ${sql}`);
      this.known.add('write');
      const plan = (await this.undone(
        `EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE write (${parameters.map(literal).join(', ')})`,
      )) as { 'QUERY PLAN': { Plan: PlanNode }[] }[];
      rows = scannedBy(plan[0]?.['QUERY PLAN'][0]?.Plan as PlanNode);
      return [];
    };
    await store.write({ query }, [message({ key })], born());
    if (rows === undefined) throw new Error('there was no INSERT');
    return rows;
  }

  async close(): Promise<void> {
    await this.runner.release();
    await this.database.close();
  }

  private async watch(
    relay: RelayDataSource,
    work: () => Promise<unknown>,
    look: (statement: HotStatement) => Promise<number>,
  ): Promise<number> {
    let sum = 0;
    const execute = relay.execute.bind(relay);
    const spy = jest.spyOn(relay, 'execute').mockImplementation(async (statement) => {
      sum += await look(statement);
      return execute(statement);
    });
    await work().finally(() => spy.mockRestore());
    return sum;
  }

  private async undone(sql: string): Promise<unknown> {
    await this.runner.query('BEGIN');
    try {
      return await this.runner.query(sql);
    } finally {
      await this.runner.query('ROLLBACK');
    }
  }
}

function literal(value: unknown): string {
  if (value === null) return 'NULL';
  if (Buffer.isBuffer(value)) return `'\\x${value.toString('hex')}'`;
  const text = Array.isArray(value) ? `{${value.map((one) => one ?? 'NULL').join(',')}}` : value;
  return `'${text as string}'`;
}

/** ANALYZE carries the statement out; so in a transaction that is undone. */
async function explain(
  runner: Queries,
  send: Queries['query'],
  sql: string,
  parameters?: unknown[],
): Promise<unknown> {
  if (!(runner instanceof RelayDataSource)) {
    await send('SAVEPOINT explained');
    const plan = await send(sql, parameters);
    await send('ROLLBACK TO SAVEPOINT explained');
    return plan;
  }
  let plan: unknown;
  const undo = new Error('undo');
  await runner
    .transaction(async (statements) => {
      plan = await statements.query(sql, parameters as never[]);
      throw undo;
    })
    .catch((error: unknown) => {
      if (error !== undo) throw error;
    });
  return plan;
}

function scannedBy(node: PlanNode): number {
  const own =
    node['Relation Name'] === undefined || node['Node Type'] === 'ModifyTable'
      ? 0
      : (node['Actual Rows'] +
          (node['Rows Removed by Filter'] ?? 0) +
          (node['Rows Removed by Index Recheck'] ?? 0)) *
        node['Actual Loops'];
  // A scan of the whole table is wrong even where it happens to give few rows.
  const whole =
    node['Node Type'] === 'Seq Scan' && node['Relation Name'] === 'outbox_message' ? 1_000_000 : 0;
  return (node.Plans ?? []).reduce((sum, child) => sum + scannedBy(child), own + whole);
}

const many = (more: object): ReturnType<typeof message>[] =>
  Array.from({ length: HISTORY }, () => message(more));

async function setStatus(
  { database, names, query }: StoreFixture,
  status: string,
  where: string,
): Promise<void> {
  const at =
    database.type === 'postgres' ? `now() - interval '1 hour'` : 'UTC_TIMESTAMP(6) - INTERVAL 30 MINUTE';
  await query(
    `UPDATE ${names.message} SET status = '${status}', finished_at = ${at}, dead_at = ${at} WHERE ${where}`,
  );
}

async function fillSent(fixture: StoreFixture): Promise<void> {
  await fixture.publish(many({ type: 'sent' }));
  await setStatus(fixture, 'sent', `type = 'sent'`);
}

async function fill(fixture: StoreFixture): Promise<void> {
  await fixture.publish(many({ type: 'dead', key: 'grave' }));
  await setStatus(fixture, 'dead_letter', `type = 'dead'`);
  await fixture.publish(many({ delayMs: 3_600_000 }));
  await fixture.publish(many({ transport: 'paused' }));
  await fixture.publish(many({ key: 'busy', transport: 'paused' }));
  // Of each key one that is sent, and one behind it that nobody promoted.
  await fixture.publish(KEYS.flatMap((key) => [message({ key, type: 'first' }), message({ key })]));
  await setStatus(fixture, 'sent', `type = 'first'`);
  // On PostgreSQL more tests claim.
  const rounds = fixture.database.type === 'postgres' ? 8 : 4;
  for (let round = 0; round < rounds; round += 1)
    await fixture.publish(Array.from({ length: 10 * DUE }, () => message()));
  await fixture.stores.outbox.stats();
}
