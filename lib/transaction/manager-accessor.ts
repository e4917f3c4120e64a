import { type EntityManager, type QueryRunner } from 'typeorm';
import { OutboxConfigurationError } from '../core/errors';

/** What the data source's manager asks whenever it is used. */
export interface AmbientRunner {
  /** The connection of the ambient transaction; undefined without one. Throws when that transaction has ended. */
  runner(): QueryRunner | undefined;
  /** `manager.transaction()` in here. */
  transaction(isolation: unknown, work: unknown, open: () => Promise<unknown>): Promise<unknown>;
}

type Repositories = Record<'getRepository' | 'getTreeRepository', (target: unknown) => unknown>;

/**
 * Makes every repository of a data source join the ambient transaction, by own properties of the one EntityManager that
 * they all share; no prototype is touched. TypeORM reads `manager.queryRunner` at each use.
 *
 * `getRepository` runs as if there were no transaction, because a repository keeps the query runner that it sees when it
 * is made, and the manager keeps the repository for ever.
 */
export class ManagerAccessor {
  private suspended = false;

  constructor(
    private readonly manager: EntityManager,
    private readonly ambient: AmbientRunner,
  ) {}

  install(): void {
    const { manager } = this;
    if (Object.hasOwn(manager, 'queryRunner')) {
      throw new OutboxConfigurationError(
        'dataSource',
        'has an outbox already. Import OutboxModule.forRoot() once for each.',
      );
    }
    Object.defineProperty(manager, 'queryRunner', {
      configurable: true,
      enumerable: false,
      get: () => (this.suspended ? undefined : this.ambient.runner()),
    });
    const prototype = Object.getPrototypeOf(manager) as unknown as Repositories;
    for (const name of ['getRepository', 'getTreeRepository'] as const) {
      define(manager, name, (target: unknown) => this.suspend(() => prototype[name].call(manager, target)));
    }
    define(
      manager,
      'transaction',
      routed(manager, (...call) => this.ambient.transaction(...call)),
    );
  }

  uninstall(): void {
    for (const name of ['queryRunner', 'getRepository', 'getTreeRepository', 'transaction']) {
      Reflect.deleteProperty(this.manager, name);
    }
  }

  /** Synchronous, so nobody else can meet the flag. */
  private suspend<T>(work: () => T): T {
    this.suspended = true;
    try {
      return work();
    } finally {
      this.suspended = false;
    }
  }
}

/** Replaces `transaction()` of one transaction's manager; `route` decides, and may open one as TypeORM does. */
export function routeTransaction(manager: EntityManager, route: AmbientRunner['transaction']): void {
  // Set and not defined: each transaction has a manager of its own, and to define a property V8 leaves compiled code.
  manager.transaction = routed(manager, route);
}

function routed(manager: EntityManager, route: AmbientRunner['transaction']): EntityManager['transaction'] {
  const prototype = Object.getPrototypeOf(manager) as EntityManager;
  return (isolation: unknown, work?: unknown) =>
    route(isolation, work, () => prototype.transaction.call(manager, isolation as never, work as never));
}

function define(manager: EntityManager, name: string, value: unknown): void {
  Object.defineProperty(manager, name, { configurable: true, enumerable: false, writable: true, value });
}
