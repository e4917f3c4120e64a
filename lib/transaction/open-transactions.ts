import { type QueryRunner } from 'typeorm';
import { OpenTransaction } from './open-transaction';

const FOREIGN = 'that the application opened';

/**
 * The transactions that we know something of, by the connection they run on. A connection runs several in its life, one after
 * the other; the one that has ended stays here until the next begins, so that latecomers are told apart from newcomers.
 */
export class OpenTransactions {
  /** Where a connection's runner keeps it. A weak map would cost the garbage collector more than all else here. */
  private readonly slot = Symbol('outbox transaction');
  /**
   * Those with messages, until they end, in no order: for people who ask where a message is. Not a `Set`: each time it makes
   * room, V8 links its old table, and what that held, to the new one, and the garbage collector's quick rounds keep the whole
   * chain. That was nearly every transaction, with its messages, until the next full round.
   */
  private readonly publishing: OpenTransaction[] = [];

  /** The latest transaction of the connection that we know, ended or not. */
  find(runner: QueryRunner): OpenTransaction | undefined {
    return (runner as unknown as Record<symbol, OpenTransaction | undefined>)[this.slot];
  }

  /** The transaction that is open on the connection; begins to look at it, if nothing of it mattered so far. */
  of(runner: QueryRunner): OpenTransaction {
    return (
      this.find(runner) ?? this.enter(new OpenTransaction(runner, FOREIGN, { own: false, isolation: null }))
    );
  }

  /** The transaction that we have just opened on the connection. */
  open(runner: QueryRunner, name: string): OpenTransaction {
    const isolation = this.find(runner)?.isolation ?? null;
    return this.enter(new OpenTransaction(runner, name, { own: true, isolation }));
  }

  /** A new transaction begins on the connection. */
  forget(runner: QueryRunner): OpenTransaction | undefined {
    const before = this.find(runner);
    if (before === undefined) return undefined;
    this.keep(runner, undefined);
    this.unlist(before);
    return before;
  }

  /** It has messages staged. */
  publishes(transaction: OpenTransaction): void {
    if (transaction.place !== null) return;
    transaction.place = this.publishing.push(transaction) - 1;
    transaction.ended = () => this.unlist(transaction);
  }

  /** The open transaction in which this message is staged. */
  withStaged(messageId: string): OpenTransaction | undefined {
    return this.publishing.find(({ staged }) => staged.has(messageId));
  }

  private enter(transaction: OpenTransaction): OpenTransaction {
    this.keep(transaction.runner, transaction);
    return transaction;
  }

  /** The last one takes its place. */
  private unlist(transaction: OpenTransaction): void {
    const { place } = transaction;
    if (place === null) return;
    transaction.place = null;
    const last = this.publishing.pop();
    if (last === undefined || last === transaction) return;
    this.publishing[place] = last;
    last.place = place;
  }

  private keep(runner: QueryRunner, transaction: OpenTransaction | undefined): void {
    (runner as unknown as Record<symbol, OpenTransaction | undefined>)[this.slot] = transaction;
  }
}
