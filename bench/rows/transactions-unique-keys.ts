import { type Row, perSecond } from '../harness/row';
import { AT_ONCE, bareTransactions, outboxTransactions } from '../measures/transactions';
import { UNIQUE } from '../roles/config';

/** A key of its own for each message. */
export const transactionsUniqueKeys: Row = {
  name: 'transactions-unique-keys',
  group: 'transactions',
  what: `transactions, ${AT_ONCE} at once, relay elsewhere, unique keys`,
  open: async (bench) => {
    const workspace = await bench.database.open();
    return {
      figures: [perSecond(0.75)],
      variants: [
        bareTransactions(bench, workspace, AT_ONCE),
        outboxTransactions(bench, workspace, { name: 'ours', kind: 'ours', role: 'publisher', key: UNIQUE }),
      ],
      close: () => workspace.drop(),
    };
  },
};
