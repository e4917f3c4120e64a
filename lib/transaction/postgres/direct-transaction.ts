import { type QueryRunner, TransactionNotStartedError } from 'typeorm';
import {
  broadcast,
  depthOf,
  heard,
  announce,
  loggerOf,
  markActive,
  restoreDepth,
} from '../typeorm-internals';
import { type PgClient } from './client';
import { BEGIN, keepBegin } from './kept-begin';

/*
 * The two ends of a transaction that we own, as TypeORM's `startTransaction()` and `commitTransaction()` make them: the same
 * marks on the runner, and the same subscribers hear the same things in the same order. What is left out is TypeORM's way to
 * the server, some fifty promises a transaction; and BEGIN waits for the first statement.
 */

/** Begins, as far as anybody can see: BEGIN itself is kept back, and goes out with the first statement. */
export async function begin(runner: QueryRunner, client: PgClient): Promise<void> {
  markActive(runner, true);
  try {
    const starting = broadcast(runner, 'BeforeTransactionStart');
    if (starting !== null) await starting;
  } catch (error) {
    markActive(runner, false);
    throw error;
  }
  loggerOf(runner).logQuery(BEGIN, undefined, runner);
  const announced = announce(runner, BEGIN, undefined);
  if (announced !== null) await announced;
  keepBegin(client);
  const told = heard(runner, { sql: BEGIN }, { success: true, durationMs: 0, answer: BEGUN });
  if (told !== null) await told;
  restoreDepth(runner, 1);
  const started = broadcast(runner, 'AfterTransactionStart');
  if (started !== null) await started;
}

/** What the server will have answered. */
const BEGUN = { command: 'START', rows: [], rowCount: null };

/**
 * Commits the outermost transaction.
 * @param send sends COMMIT
 * @returns false where a savepoint is open, and so nothing is committed
 */
export async function commit(runner: QueryRunner, send: () => Promise<unknown>): Promise<boolean> {
  if (!runner.isTransactionActive) throw new TransactionNotStartedError();
  const ending = broadcast(runner, 'BeforeTransactionCommit');
  if (ending !== null) await ending;
  if (depthOf(runner) !== 1) return false;
  await send();
  restoreDepth(runner, 0);
  const ended = broadcast(runner, 'AfterTransactionCommit');
  if (ended !== null) await ended;
  return true;
}
