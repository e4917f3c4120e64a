import { type StagedMessage } from '../core/message';
import { shortLivedList } from '../core/short-lived';

/** A failure that was caught where it must not be, and how deep in savepoints it stands. */
interface Failure {
  readonly error: unknown;
  depth: number;
}

/**
 * What one transaction has staged, in step with the server's savepoints: a savepoint remembers how many messages there
 * were, its rollback forgets those after it, its release keeps them. The same holds for a failure that forbids the
 * commit: rolled back with its savepoint, it is undone and forgives.
 *
 * It follows the statements, not TypeORM's hooks, so hand-written savepoints count as well. A savepoint that is not known
 * here was set before anything was staged: its rollback takes all.
 */
export class StagedMessages {
  private readonly messages = shortLivedList<StagedMessage>();
  private readonly savepoints = shortLivedList<{ readonly name: string; readonly count: number }>();
  private failure: Failure | null = null;
  private written = 0;

  add(messages: readonly StagedMessage[]): void {
    for (const message of messages) this.messages.push(message);
  }

  has(id: string): boolean {
    return this.messages.some((message) => message.id === id);
  }

  /** How many savepoints are open. */
  get depth(): number {
    return this.savepoints.length;
  }

  /** Those that are not yet in the table. */
  get unwritten(): readonly StagedMessage[] {
    return this.written === 0 ? this.messages : this.messages.slice(this.written);
  }

  /** Hands out those that are not yet in the table, to be written now; empty when there are none. */
  take(): readonly StagedMessage[] {
    const batch = this.unwritten.slice();
    this.written = this.messages.length;
    return batch;
  }

  /** Forbids the commit, unless the savepoint at this depth is rolled back. The first failure counts. */
  fail(error: unknown, depth: number): void {
    if (this.failure === null) this.failure = { error, depth };
    else this.failure.depth = Math.min(this.failure.depth, depth);
  }

  /** The failure that stands at this depth of savepoints, or deeper. */
  failureFrom(depth: number): { readonly error: unknown } | null {
    return this.failure !== null && this.failure.depth >= depth ? this.failure : null;
  }

  setSavepoint(name: string): void {
    this.savepoints.push({ name, count: this.messages.length });
  }

  release(name: string): void {
    const index = this.indexOf(name);
    if (index < 0) return;
    this.savepoints.length = index;
    if (this.failure !== null) this.failure.depth = Math.min(this.failure.depth, index);
  }

  rollBackTo(name: string): void {
    const index = this.indexOf(name);
    // The savepoint itself stays, as it does on the server.
    this.messages.length = this.savepoints[index]?.count ?? 0;
    this.savepoints.length = index + 1;
    if (this.failure !== null && this.failure.depth > index) this.failure = null;
  }

  private indexOf(name: string): number {
    return this.savepoints.findLastIndex((savepoint) => savepoint.name === name);
  }
}
