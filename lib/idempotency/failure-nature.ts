import { randomUUID } from 'node:crypto';

import type { Clock } from '../core/clock';
import { DuplicateInProgressError, HandlerNackedError, UnprocessableMessageError } from '../core/errors';
import type { InboxStore } from '../core/inbox-store.port';
import type { Transactions } from '../core/transactions.port';
import { anyInChain } from './error-chain';

/**
 * Whose fault a failure is.
 * - `failed`: the message's, or its handler's. Spends an attempt.
 * - `refused`: the message will never do. A dead letter at once.
 * - `busy`: another delivery's, or the contention's. Put off; spends none.
 * - `unavailable`: the database's. Waits for it; spends none.
 */
export type FailureNature = 'failed' | 'refused' | 'busy' | 'unavailable';

/** A database that does not answer for so long is away. */
const PROBE_TIMEOUT_MS = 5_000;

/** Tells the natures of failures apart. */
export class FailureDiagnosis {
  constructor(
    private readonly dependencies: {
      readonly transactions: Transactions;
      readonly inbox: InboxStore;
      readonly clock: Clock;
    },
  ) {}

  /** Whether an error means: the same, tried again at once, may well succeed. */
  isTransient(error: unknown): boolean {
    if (error instanceof DuplicateInProgressError) return false;
    const { inbox } = this.dependencies;
    return anyInChain(error, (each) => inbox.isTransient(each) || inbox.isLockTimeout(each));
  }

  async natureOf(error: unknown, consumer: string): Promise<FailureNature> {
    if (error instanceof UnprocessableMessageError) return 'refused';
    if (error instanceof HandlerNackedError) return error.requeue ? 'failed' : 'refused';
    if (error instanceof DuplicateInProgressError || this.isTransient(error)) return 'busy';
    return (await this.inboxWorks(consumer)) ? 'failed' : 'unavailable';
  }

  /**
   * Whether a message could be handled at all: tries an inbox row and rolls it back. Drivers report a lost connection in
   * dozens of ways, and a server may answer and yet be of no use (a read-only standby, a full disk, a missing table).
   */
  private inboxWorks(consumer: string): Promise<boolean> {
    const { transactions, inbox, clock } = this.dependencies;
    let added = false;
    const attempt = transactions
      .run({ propagation: 'requiresNew', name: 'inbox probe' }, async () => {
        await inbox.add(transactions.current(), [{ consumer, messageKey: `probe:${randomUUID()}` }]);
        added = true;
        throw new Error('The probe leaves nothing behind.');
      })
      .then(
        () => added,
        () => added,
      );
    return new Promise((resolve) => {
      const cancel = clock.after(PROBE_TIMEOUT_MS, () => {
        resolve(false);
      });
      void attempt.then((works) => {
        cancel();
        resolve(works);
      });
    });
  }
}
