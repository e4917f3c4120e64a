import { type QueryRunner, TransactionNotStartedError } from 'typeorm';
import { broadcast, depthOf, markActive, restoreDepth } from '../typeorm-internals';

/*
 * The two ends of a transaction that we own, as TypeORM's `startTransaction()` and `commitTransaction()` make them: the same
 * marks on the runner, and the same subscribers hear the same things in the same order. What is left out is TypeORM's way to
 * the server, some fifty promises a transaction.
 */

/** As TypeORM spells it, so that subscribers hear the same. */
export const BEGIN = 'START TRANSACTION';
export const COMMIT = 'COMMIT';

/** Begins. @param send sends BEGIN, or keeps it for the first statement; null: that took no time */
export async function begin(runner: QueryRunner, send: () => Promise<unknown> | null): Promise<void> {
  markActive(runner, true);
  try {
    const starting = broadcast(runner, 'BeforeTransactionStart');
    if (starting !== null) await starting;
  } catch (error) {
    markActive(runner, false);
    throw error;
  }
  const sending = send();
  if (sending !== null) await sending;
  restoreDepth(runner, 1);
  const started = broadcast(runner, 'AfterTransactionStart');
  if (started !== null) await started;
}

/**
 * Commits. Where a savepoint is still open, nothing is sent: TypeORM would release that one instead.
 * @param send sends COMMIT
 */
export async function commit(runner: QueryRunner, send: () => Promise<unknown>): Promise<void> {
  if (!runner.isTransactionActive) throw new TransactionNotStartedError();
  const ending = broadcast(runner, 'BeforeTransactionCommit');
  if (ending !== null) await ending;
  if (depthOf(runner) !== 1) return;
  await send();
  restoreDepth(runner, 0);
  const ended = broadcast(runner, 'AfterTransactionCommit');
  if (ended !== null) await ended;
}
