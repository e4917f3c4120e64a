import { type Row, perSecond } from '../harness/row';
import { AT_ONCE, bareTransactions, outboxTransactions } from '../measures/transactions';

/** All on one key: their commits go one after the other, and so do those of the baseline. */
export const transactionsHotKey: Row = {
  name: 'transactions-hot-key',
  group: 'transactions',
  what: `transactions, ${AT_ONCE} at once on one hot key, relay elsewhere`,
  open: async (bench) => {
    const workspace = await bench.database.open();
    return {
      figures: [perSecond(0.9)],
      variants: [
        bareTransactions(bench, workspace, 1),
        outboxTransactions(bench, workspace, { name: 'ours', kind: 'ours', role: 'publisher', key: 'hot' }),
      ],
      close: () => workspace.drop(),
    };
  },
};
