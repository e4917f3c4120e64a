import type { QueryRunner } from 'typeorm';
import { OpenTransactions } from '../../../lib/transaction/open-transactions';
import { stagedMessage } from '../support/staged-message';

describe('OpenTransactions', () => {
  const runner = { isReleased: false } as QueryRunner;

  it.each([
    ['committed', 'committed'],
    ['rolled back', 'rolled back'],
  ] as const)('finds the transaction that a message is staged in, until it is %s', (_, outcome) => {
    const transactions = new OpenTransactions();
    const [first, second] = [stagedMessage(), stagedMessage()];
    const transaction = transactions.open(runner, 'placing an order');
    for (const message of [first, second]) {
      transaction.staged.add([message]);
      transactions.publishes(transaction);
    }
    expect(transactions.withStaged(second.id)).toBe(transaction);
    expect(transactions.withStaged(stagedMessage().id)).toBeUndefined();
    transaction.end(outcome);
    expect(transactions.withStaged(first.id)).toBeUndefined();
    // Nothing of it is kept, though its connection lives on.
    expect(transactions.find(runner)).toBe(transaction);
  });

  it('forgets one that was never ended, when the next begins on its connection', () => {
    const transactions = new OpenTransactions();
    const message = stagedMessage();
    const transaction = transactions.of(runner);
    transaction.staged.add([message]);
    transactions.publishes(transaction);
    expect(transactions.forget(runner)).toBe(transaction);
    expect(transactions.withStaged(message.id)).toBeUndefined();
  });

  it('finds each of many that come and go in any order, and none that is over', () => {
    const transactions = new OpenTransactions();
    const begin = () => {
      const message = stagedMessage();
      const transaction = transactions.open({ isReleased: false } as QueryRunner, 'one of many');
      transaction.staged.add([message]);
      transactions.publishes(transaction);
      return { message, transaction };
    };
    const open = Array.from({ length: 5 }, begin);
    const over: typeof open = [];
    // The first, the last, one in the middle, and those that took their places.
    for (const index of [0, 3, 1, 0, 0]) {
      const [ended] = open.splice(index, 1);
      ended!.transaction.end('committed');
      over.push(ended!);
      if (over.length === 2) open.push(begin());
      for (const { message, transaction } of open)
        expect(transactions.withStaged(message.id)).toBe(transaction);
      for (const { message } of over) expect(transactions.withStaged(message.id)).toBeUndefined();
    }
    expect(open).toHaveLength(1);
  });
});
