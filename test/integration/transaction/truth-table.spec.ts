import { Propagation } from '@nestjs-cls/transactional';
import { type QueryRunner } from 'typeorm';
import { type TestDatabaseType } from '../../support/shared-servers';
import { Bench, ThingSchema, outcomeOf } from './bench';
import { startTransactionHost } from './transaction-host';
import { type Tx, type Way, describeTruth, txOf } from './truth-table';

/** `typeorm-transactional` patches TypeORM for the whole process: it has a spec file of its own. */
const TYPES: TestDatabaseType[] = ['postgres', 'mysql'];

describe('own', () => {
  for (const type of TYPES) {
    describeTruth(type, async () => {
      const bench = await Bench.start(type, { poolSize: 1 });
      const tx: Tx = {
        add: (id) => bench.things.insert({ id }),
        publish: (id) => bench.publish(id),
        get statements() {
          return bench.transactions.current();
        },
        savepoint: (work) => bench.transactions.run({ propagation: 'nested' }, () => work(tx)),
      };
      const way: Way = { name: 'own', transaction: (work) => bench.transactions.run({}, () => work(tx)) };
      return { bench, way, close: () => bench.stop() };
    });
  }
});

describe('plain manager', () => {
  for (const type of TYPES) {
    describeTruth(type, async () => {
      const bench = await Bench.start(type, { poolSize: 1 });
      const way: Way = {
        name: 'plain manager',
        transaction: (work) => bench.dataSource.transaction((manager) => work(txOf(bench, manager))),
        two: async (first, second) => {
          const runner = bench.dataSource.createQueryRunner();
          const run = (work: (tx: Tx) => Promise<void>) =>
            outcomeOf(runner.manager.transaction((manager) => work(txOf(bench, manager))));
          try {
            return [await run(first), await run(second)];
          } finally {
            await runner.release();
          }
        },
      };
      return { bench, way, close: () => bench.stop() };
    });
  }
});

describe('queryRunner by hand', () => {
  const inTransaction = async (runner: QueryRunner, work: () => Promise<void>) => {
    await runner.startTransaction();
    try {
      await work();
      await runner.commitTransaction();
    } catch (error) {
      if (runner.isTransactionActive) await runner.rollbackTransaction().catch(() => undefined);
      throw error;
    }
  };
  const txOn = (bench: Bench, runner: QueryRunner): Tx => ({
    add: (id) => runner.query(`INSERT INTO thing (id) VALUES ('${id}')`),
    publish: (id) => bench.publish(id, runner),
    statements: runner,
    savepoint: (work) => inTransaction(runner, () => work(txOn(bench, runner))),
  });
  for (const type of TYPES) {
    describeTruth(type, async () => {
      const bench = await Bench.start(type, { poolSize: 1 });
      const onOne = async (works: ((tx: Tx) => Promise<void>)[]) => {
        const runner = bench.dataSource.createQueryRunner();
        try {
          const outcomes = [];
          for (const work of works) {
            outcomes.push(await outcomeOf(inTransaction(runner, () => work(txOn(bench, runner)))));
          }
          return outcomes;
        } finally {
          await runner.release();
        }
      };
      const way: Way = {
        name: 'queryRunner by hand',
        transaction: async (work) => {
          const runner = bench.dataSource.createQueryRunner();
          await inTransaction(runner, () => work(txOn(bench, runner))).finally(() => runner.release());
        },
        two: (...works) => onOne(works),
      };
      return { bench, way, close: () => bench.stop() };
    });
  }
});

describe('nestjs-cls', () => {
  for (const type of TYPES) {
    describeTruth(type, async () => {
      const hosts: unknown[] = [];
      const bench = await Bench.start(type, { poolSize: 1, foreignHosts: () => hosts });
      const { host, close } = await startTransactionHost(bench.dataSource);
      hosts.push({ some: 'other provider' }, host);
      const tx: Tx = {
        add: (id) => host.tx.getRepository(ThingSchema).insert({ id }),
        publish: (id) => bench.publish(id),
        get statements() {
          return host.tx.queryRunner!;
        },
        savepoint: (work) => host.withTransaction(Propagation.Nested, () => work(tx)),
      };
      const way: Way = { name: 'nestjs-cls', transaction: (work) => host.withTransaction(() => work(tx)) };
      return {
        bench,
        way,
        close: async () => {
          await close();
          await bench.stop();
        },
      };
    });
  }
});
