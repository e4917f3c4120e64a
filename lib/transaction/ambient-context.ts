import { AsyncLocalStorage } from 'node:async_hooks';
import { type DataSource, type QueryRunner } from 'typeorm';
import { type TransactionScope } from './open-transaction';

/** What asynchronous code carries along. Never changed, only replaced: others may be running with the one before. */
interface Surroundings {
  readonly scopes: ReadonlyMap<DataSource, TransactionScope>;
  /** Connections of other libraries' transactions that this code was started outside of. */
  readonly left: readonly QueryRunner[];
}

/**
 * One for the process, keyed by data source: so two data sources never mix, and leaving means leaving all of them, as
 * whatever is started "outside" must not carry the transaction of another data source away either.
 */
const storage = new AsyncLocalStorage<Surroundings>();

const NOWHERE: Surroundings = { scopes: new Map(), left: [] };

/** The ambient scope of a data source, ended or not. */
export function ambientScope(dataSource: DataSource): TransactionScope | undefined {
  return storage.getStore()?.scopes.get(dataSource);
}

/** Runs work, and all that it begins, in a scope. */
export function runInScope<T>(dataSource: DataSource, scope: TransactionScope, work: () => T): T {
  const { scopes, left } = storage.getStore() ?? NOWHERE;
  // Nearly always there is none around it, and a map is dear to copy.
  const all = scopes.size === 0 ? new Map<DataSource, TransactionScope>() : new Map(scopes);
  return storage.run({ scopes: all.set(dataSource, scope), left }, work);
}

/** Runs work, and all that it begins, outside of every ambient transaction and of that connection's. */
export function runOutside<T>(runner: QueryRunner | undefined, work: () => T): T {
  const here = storage.getStore() ?? NOWHERE;
  // The relay's own work is outside already, for each message of it.
  if (runner === undefined && here.scopes.size === 0 && here.left.length === 0) return work();
  // Those that have ended since cannot be met again: without them a chain of timers would gather them for ever.
  const left = here.left.filter((other) => other.isTransactionActive);
  if (runner !== undefined) left.push(runner);
  return storage.run({ scopes: NOWHERE.scopes, left }, work);
}

/** Runs work outside of this data source's transaction alone. */
export function runOutsideOf<T>(dataSource: DataSource, work: () => T): T {
  const { scopes, left } = storage.getStore() ?? NOWHERE;
  const others = new Map(scopes);
  others.delete(dataSource);
  return storage.run({ scopes: others, left }, work);
}

/** Whether this code was started outside of that connection's transaction, though another library still points to it. */
export function wasLeft(runner: QueryRunner): boolean {
  return storage.getStore()?.left.includes(runner) ?? false;
}
