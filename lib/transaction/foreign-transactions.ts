import { type DataSource, type EntityManager, type QueryRunner } from 'typeorm';
import { wasLeft } from './ambient-context';
import { dataSourceOf, runnerOf } from './typeorm-internals';

/** `TransactionHost` of `@nestjs-cls/transactional`, as far as it is used here; the package need not be there. */
interface TransactionHost {
  isTransactionActive(): boolean;
  readonly tx: unknown;
}

/**
 * Transactions that other libraries carry through asynchronous code:
 * - `@nestjs-cls/transactional`: its hosts are handed in; each knows the EntityManager of its transaction;
 * - `typeorm-transactional`: it replaces `dataSource.manager` by a getter that gives the transaction's manager.
 */
export class ForeignTransactions {
  constructor(
    private readonly dataSource: DataSource,
    /** The data source's manager, as it is outside of every transaction. */
    private readonly manager: EntityManager,
    private readonly hosts: () => readonly unknown[],
  ) {}

  /** The connection of the transaction that is open here, unless this code was started outside of it. */
  activeRunner(): QueryRunner | undefined {
    const patched = this.dataSource.manager;
    if (patched !== this.manager) {
      const runner = this.usable(patched);
      if (runner !== undefined) return runner;
    }
    for (const host of this.hosts()) {
      if (!isTransactionHost(host) || !host.isTransactionActive()) continue;
      const runner = this.usable(host.tx);
      if (runner !== undefined) return runner;
    }
    return undefined;
  }

  /** A host may belong to another data source, or to another library than TypeORM. */
  private usable(manager: unknown): QueryRunner | undefined {
    // The data source's own manager is no transaction's, and asking it for its runner would ask for ours.
    if (manager === this.manager) return undefined;
    const runner = runnerOf(manager);
    if (runner === undefined || dataSourceOf(runner) !== this.dataSource) return undefined;
    return runner.isTransactionActive && !runner.isReleased && !wasLeft(runner) ? runner : undefined;
  }
}

function isTransactionHost(value: unknown): value is TransactionHost {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Partial<TransactionHost>).isTransactionActive === 'function' &&
    'tx' in value
  );
}
