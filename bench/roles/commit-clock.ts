import { type EntitySubscriberInterface, EventSubscriber, type TransactionCommitEvent } from 'typeorm';

import { monotonicMs } from '../harness/statistics';

/** Where a transaction's number hangs. */
interface NumberedRunner {
  readonly data: { benchNumber?: number };
}

/** Notes when each numbered transaction's COMMIT was answered, before anybody's after-commit work. */
@EventSubscriber()
export class CommitClock implements EntitySubscriberInterface {
  private static commits = new Map<number, number>();

  static number(runner: NumberedRunner | undefined, n: number): void {
    if (runner === undefined) throw new Error('no transaction is open');
    runner.data.benchNumber = n;
  }

  /** The moments since the last call. */
  static take(): Map<number, number> {
    const taken = CommitClock.commits;
    CommitClock.commits = new Map();
    return taken;
  }

  afterTransactionCommit({ queryRunner }: TransactionCommitEvent): void {
    const { data } = queryRunner as unknown as NumberedRunner;
    if (data.benchNumber === undefined) return;
    CommitClock.commits.set(data.benchNumber, monotonicMs());
    delete data.benchNumber;
  }
}
