import { type QueryRunner, TransactionNotStartedError } from 'typeorm';
import {
  announce,
  broadcast,
  depthOf,
  heard,
  loggerOf,
  markActive,
  restoreDepth,
} from '../typeorm-internals';
import { type PgClient } from './client';
import { keepBegin } from './kept-begin';
import { BEGIN } from './known-query';

/*
 * The two ends of a transaction that we own, as TypeORM's `startTransaction()` and `commitTransaction()` make them: the same
 * marks on the runner, and the same subscribers hear the same things in the same order. What is left out is TypeORM's way to
 * the server, some fifty promises a transaction; and BEGIN waits for the first statement.
 */

/** What the server will have answered to BEGIN. */
const BEGUN = { command: 'START', rows: [], rowCount: null };

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
