import { type EntityManager } from 'typeorm';
import { type StatementRunner } from '../../../lib/core/statement-runner';
import { type TestDatabaseType } from '../../support/shared-servers';
import { type Bench, ThingSchema, outcomeOf } from './bench';

/** A transaction as one of the ways to open one gives it to its work. */
export interface Tx {
  /** Changes data. */
  add(id: string): Promise<unknown>;
  publish(id: string): void;
  /** The transaction's connection. */
  readonly statements: StatementRunner;
  savepoint(work: (tx: Tx) => Promise<void>): Promise<void>;
}

/** A way to open transactions. */
export interface Way {
  readonly name: string;
  transaction(work: (tx: Tx) => Promise<void>): Promise<void>;
  /** Two transactions, one after the other, on one query runner (or, where none is to be had, on one connection). */
  two?(first: (tx: Tx) => Promise<void>, second: (tx: Tx) => Promise<void>): Promise<string[]>;
}

export interface Row {
  readonly change: string[];
  readonly messages: string[];
  readonly handedOver: string[];
  readonly caller: string | string[];
}

type Case = (bench: Bench, way: Way) => Promise<string | string[]>;

const failure = new Error('the work failed');

const cases = {
  commit: (_, way) =>
    outcomeOf(
      way.transaction(async (tx) => {
        await tx.add('a');
        tx.publish('m');
      }),
    ),

  rollback: (_, way) =>
    outcomeOf(
      way.transaction(async (tx) => {
        await tx.add('a');
        tx.publish('m');
        throw failure;
      }),
    ),

  'savepoint released': (_, way) =>
    outcomeOf(
      way.transaction(async (tx) => {
        await tx.add('a');
        tx.publish('m');
        await tx.savepoint(async (inner) => {
          await inner.add('b');
          inner.publish('n');
        });
        await tx.add('c');
        tx.publish('o');
      }),
    ),

  'savepoint rolled back': (_, way) =>
    outcomeOf(
      way.transaction(async (tx) => {
        await tx.add('a');
        tx.publish('m');
        await expect(
          tx.savepoint(async (inner) => {
            await inner.add('b');
            inner.publish('n');
            throw failure;
          }),
        ).rejects.toBe(failure);
        await tx.add('c');
        tx.publish('o');
      }),
    ),

  'aborted commit': (bench, way) =>
    outcomeOf(
      way.transaction(async (tx) => {
        await tx.add('a');
        tx.publish('m');
        await bench.swallowFailedStatement(tx.statements);
        await tx.add('b').catch(() => undefined);
      }),
    ),

  'aborted commit, no message': (bench, way) =>
    outcomeOf(
      way.transaction(async (tx) => {
        await tx.add('a');
        const undone = tx.savepoint(async (inner) => {
          inner.publish('m');
          throw failure;
        });
        await expect(undone).rejects.toBe(failure);
        await bench.swallowFailedStatement(tx.statements);
      }),
    ),

  'commit fails': (bench, way) =>
    outcomeOf(
      way.transaction(async (tx) => {
        await tx.add('a');
        tx.publish('m');
        if (bench.isMysql) {
          bench.listener.afterWrite = async (statements) => bench.kill(await bench.connectionId(statements));
        } else await tx.statements.query(`INSERT INTO late_check VALUES ('nowhere')`);
      }),
    ),

  'two on one runner': async (_, way) => {
    const first = async (tx: Tx) => {
      await tx.add('a');
      tx.publish('m');
      throw failure;
    };
    const second = async (tx: Tx) => {
      await tx.add('b');
      tx.publish('n');
    };
    if (way.two) return way.two(first, second);
    return [await outcomeOf(way.transaction(first)), await outcomeOf(way.transaction(second))];
  },
} satisfies Record<string, Case>;

type CaseName = keyof typeof cases;

/** The one table: what must come of each case, whichever way the transaction was opened. */
// prettier-ignore
const TRUTH: [CaseName, string[], string[], string[], string | string[]][] = [
//                                the change            the messages          handed over           what the caller saw
  ['commit',                     ['a'],                ['m'],                ['m'],                'resolves'],
  ['rollback',                   [],                   [],                   [],                   'the work failed'],
  ['savepoint released',         ['a', 'b', 'c'],      ['m', 'n', 'o'],      ['m', 'n', 'o'],      'resolves'],
  ['savepoint rolled back',      ['a', 'c'],           ['m', 'o'],           ['m', 'o'],           'resolves'],
  ['aborted commit',             [],                   [],                   [],                   'TransactionAbortedError'],
  ['aborted commit, no message', [],                   [],                   [],                   'TransactionAbortedError'],
  ['commit fails',               [],                   [],                   [],                   'QueryFailedError'],
  ['two on one runner',          ['b'],                ['n'],                ['n'],                ['the work failed', 'resolves']],
];

/** Puts one way through the whole table. The pool has one connection: whatever needs a second one would hang. */
export function describeTruth(
  type: TestDatabaseType,
  open: () => Promise<{ bench: Bench; way: Way; close(): Promise<void> }>,
): void {
  describe(type === 'postgres' ? 'PostgreSQL' : 'MariaDB', () => {
    let opened: Awaited<ReturnType<typeof open>>;
    beforeAll(async () => {
      opened = await open();
    });
    afterAll(() => opened.close());
    beforeEach(() => opened.bench.reset());

    it.each(TRUTH)(
      '%s: change %j, messages %j, handed over %j, caller %j',
      async (name, change, messages, handedOver, caller) => {
        const { bench, way } = opened;
        expect(await cases[name](bench, way)).toEqual(caller);
        expect({
          change: await bench.storedThings(),
          messages: await bench.storedMessages(),
          handedOver: bench.listener.handedOver,
          lost: bench.listener.lostIds,
        }).toEqual({ change, messages, handedOver, lost: [] });
        await assertHealthy(bench, way);
      },
    );
  });
}

/** The one connection of the pool must have come back, with no transaction open on it. */
async function assertHealthy(bench: Bench, way: Way): Promise<void> {
  bench.listener.afterWrite = null;
  await way.transaction(async (tx) => {
    await tx.add('next');
    tx.publish('next');
  });
  expect(await bench.storedThings()).toContain('next');
  expect(bench.listener.handedOver).toContain('next');
}

/** A transaction that is known by its manager. */
export function txOf(bench: Bench, manager: EntityManager): Tx {
  return {
    add: (id) => manager.getRepository(ThingSchema).insert({ id }),
    publish: (id) => bench.publish(id, manager),
    statements: manager.queryRunner!,
    savepoint: (work) => manager.transaction((nested) => work(txOf(bench, nested))),
  };
}
