import { type DataSource, type EntityManager, type QueryRunner } from 'typeorm';
import { type Clock } from '../core/clock';
import { TransactionEndedError, TransactionPropagationError, TransactionRequiredError } from '../core/errors';
import { type StagedMessage } from '../core/message';
import { type StatementRunner } from '../core/statement-runner';
import {
  type CommitListener,
  type TransactionHandle,
  type TransactionOptions,
  type Transactions,
} from '../core/transactions.port';
import { ambientScope, runOutside, runOutsideOf } from './ambient-context';
import { CommitGate } from './commit-gate';
import { DirectConnections } from './direct-connections';
import { EscapedWrites } from './escaped-writes';
import { ForeignTransactions } from './foreign-transactions';
import { HeldRunners, assertInnermost } from './held-runner';
import { ManagerAccessor } from './manager-accessor';
import { type TransactionScope } from './open-transaction';
import { OpenTransactions } from './open-transactions';
import { OutboxSubscriber } from './outbox.subscriber';
import { TransactionRunner } from './transaction-runner';
import { dataSourceOf, runnerOf } from './typeorm-internals';

export interface TypeOrmTransactionsParts {
  /** Initialized. */
  readonly dataSource: DataSource;
  readonly listener: CommitListener;
  readonly options: {
    readonly escapedWrites: 'log' | 'error' | 'ignore';
    /** How long `requiresNew` waits for a connection while its caller holds one. Milliseconds. */
    readonly connectionWaitMs: number;
  };
  readonly clock: Clock;
  /** Whether the server keeps prepared statements for whoever is connected; behind some poolers it does not. @default no */
  readonly preparesStatements?: () => boolean;
  /** The `TransactionHost`s of `@nestjs-cls/transactional`, of whatever data source. Called often. */
  readonly foreignHosts?: () => readonly unknown[];
}

/**
 * The transactions of one TypeORM data source.
 *
 * An ambient transaction is a scope in an AsyncLocalStorage (ambient-context.ts). Repositories find it through the data
 * source's manager (manager-accessor.ts). What is known of a transaction hangs on its connection (open-transactions.ts),
 * is learnt from TypeORM's hooks (outbox.subscriber.ts), and its statements are held back where need be (held-runner.ts);
 * messages are written in front of COMMIT (commit-gate.ts).
 */
export class TypeOrmTransactions implements Transactions {
  private readonly dataSource: DataSource;
  private readonly waitMs: number;
  private readonly transactions = new OpenTransactions();
  private readonly runners: HeldRunners;
  private readonly runner: TransactionRunner;
  private readonly subscriber: OutboxSubscriber;
  private readonly accessor: ManagerAccessor;
  private readonly foreign: ForeignTransactions;

  constructor(parts: TypeOrmTransactionsParts) {
    const { dataSource, listener, options, clock, foreignHosts = () => [] } = parts;
    // Read here and now, outside of every transaction: `typeorm-transactional` makes a getter of it.
    const manager: EntityManager = runOutside(undefined, () => dataSource.manager);
    const { transactions } = this;
    this.dataSource = dataSource;
    this.waitMs = options.connectionWaitMs;
    this.foreign = new ForeignTransactions(dataSource, manager, foreignHosts);
    const connections = new DirectConnections(parts.preparesStatements ?? (() => false));
    const gate = new CommitGate(listener, connections);
    this.runners = new HeldRunners(dataSource, gate, listener, transactions, connections);
    this.runner = new TransactionRunner(
      dataSource,
      transactions,
      this.runners,
      connections,
      clock,
      (runner) => this.routeOn(runner),
    );
    this.subscriber = new OutboxSubscriber(
      dataSource,
      transactions,
      this.runners,
      new EscapedWrites(dataSource, options.escapedWrites, transactions, listener),
      listener,
    );
    this.accessor = new ManagerAccessor(manager, {
      runner: () => this.ambientRunner(),
      transaction: this.routeOn(),
    });
  }

  /** Binds the data source. From now on its repositories join. */
  install(): void {
    this.accessor.install();
    this.subscriber.install();
  }

  /** Gives the data source back as it was. A transaction that is still open with messages cannot commit any more. */
  uninstall(): void {
    this.accessor.uninstall();
    this.subscriber.uninstall();
  }

  run<T>(options: TransactionOptions, work: () => Promise<T>): Promise<T> {
    const { propagation = 'required', isolation, manager, name = '(without a name)' } = options;
    try {
      const scope = manager === undefined ? this.scopeHere() : this.scopeNamedBy(manager, name);
      if (propagation === 'requiresNew')
        return this.runner.open({ name, isolation, waitMs: scope === undefined ? null : this.waitMs }, work);
      if (scope !== undefined) return this.runWithin(scope, options, name, work);
      if (propagation === 'mandatory') throw this.missing(name);
      return this.runner.open({ name, isolation, waitMs: null }, work);
    } catch (error) {
      return Promise.reject(error as Error); // eslint-disable-line @typescript-eslint/no-unnecessary-type-assertion
    }
  }

  isActive(): boolean {
    return this.scopeHere() !== undefined;
  }

  current(): StatementRunner {
    const scope = this.scopeHere();
    if (scope === undefined) throw this.missing('This');
    return this.runners.statementsOn(scope.transaction);
  }

  stage(messages: readonly StagedMessage[], handle?: TransactionHandle): void {
    const scope = handle === undefined ? this.scopeHere() : this.scopeNamedBy(handle, 'publish()');
    if (scope === undefined) throw this.missing('publish()');
    const { transaction } = scope;
    transaction.assertAlive();
    assertInnermost(
      scope,
      () => true,
      () => 'publish()',
    );
    this.runners.hold(transaction);
    transaction.staged.add(messages);
    this.transactions.publishes(transaction);
  }

  stagedIn(messageId: string): string | null {
    return this.transactions.withStaged(messageId)?.name ?? null;
  }

  outside<T>(work: () => T): T {
    return runOutside(this.foreign.activeRunner(), work);
  }

  private runWithin<T>(
    scope: TransactionScope,
    { propagation, isolation }: TransactionOptions,
    name: string,
    work: () => Promise<T>,
  ): Promise<T> {
    if (isolation !== undefined) throw isolationRefused(name, isolation, scope.transaction.name);
    this.runners.hold(scope.transaction);
    return propagation === 'nested' ? this.runner.nest(scope, name, work) : this.runner.join(scope, work);
  }

  /** The open transaction that code here is in: the ambient one, or another library's. */
  private scopeHere(): TransactionScope | undefined {
    const scope = ambientScope(this.dataSource);
    if (scope !== undefined && !scope.hasEnded) return scope;
    const runner = this.foreign.activeRunner();
    if (runner === undefined) return undefined;
    const foreign = this.scopeOn(runner);
    return foreign.hasEnded ? undefined : foreign;
  }

  /** The open transaction that a manager or a query runner stands for. */
  private scopeNamedBy(handle: TransactionHandle, what: string): TransactionScope {
    const runner = runnerOf(handle);
    if (runner === undefined || !runner.isTransactionActive || runner.isReleased)
      throw new TransactionRequiredError(what);
    if (dataSourceOf(runner) !== this.dataSource) {
      throw new TransactionPropagationError(
        `${what} was given the manager of another data source than its outbox writes to. Use the outbox of that data source.`,
      );
    }
    const scope = this.scopeOn(runner);
    // Work that has ended does not end the transaction for others: before-commit hooks of subscribers come after it.
    const ended = scope === ambientScope(this.dataSource) ? scope.hasEnded : scope.transaction.hasEnded;
    if (ended) throw new TransactionEndedError(scope.name);
    return scope;
  }

  private scopeOn(runner: QueryRunner): TransactionScope {
    const ambient = ambientScope(this.dataSource);
    return ambient?.transaction.runner === runner ? ambient : this.transactions.of(runner).innermost;
  }

  private missing(what: string): Error {
    const ended = ambientScope(this.dataSource);
    return ended === undefined ? new TransactionRequiredError(what) : new TransactionEndedError(ended.name);
  }

  /** What repositories use. */
  private ambientRunner(): QueryRunner | undefined {
    const scope = ambientScope(this.dataSource);
    if (scope === undefined) return undefined;
    if (scope.hasEnded) throw new TransactionEndedError(scope.name);
    return scope.transaction.runner;
  }

  /**
   * `manager.transaction(…)` of the data source's manager, or of one of our transactions: inside the ambient transaction
   * it is a nested one, that knows of its siblings and does not swallow an isolation level, as TypeORM's savepoint does.
   */
  private routeOn(runner?: QueryRunner) {
    return async (isolation: unknown, work: unknown, open: () => Promise<unknown>): Promise<unknown> => {
      const scope = ambientScope(this.dataSource);
      if (scope === undefined || (runner !== undefined && scope.transaction.runner !== runner)) return open();
      // A transaction of its own is safe in code that outlived the ambient one; but it must not look for that one.
      if (scope.hasEnded) return runOutsideOf(this.dataSource, open);
      const given = typeof isolation === 'function' ? isolation : work;
      if (typeof given !== 'function') return open();
      const name = 'manager.transaction()';
      if (typeof isolation === 'string') throw isolationRefused(name, isolation, scope.transaction.name);
      const { manager } = scope.transaction.runner;
      return this.runner.nest(scope, name, () =>
        (given as (manager: EntityManager) => Promise<unknown>)(manager),
      );
    };
  }
}

function isolationRefused(name: string, isolation: string, transaction: string): TransactionPropagationError {
  return new TransactionPropagationError(
    `${name} asks for ${isolation} inside the transaction ${transaction}, which has a level already; a savepoint cannot ` +
      `change it. Set it where the transaction is opened, or use propagation: 'requiresNew'.`,
  );
}
