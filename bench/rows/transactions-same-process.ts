import { type Row, perSecond } from '../harness/row';
import { AT_ONCE, bareTransactions, outboxTransactions } from '../measures/transactions';

/** The process that commits sends, too; and when the load ends, hardly anything may be left to send. */
export const transactionsSameProcess: Row = {
  name: 'transactions-same-process',
  group: 'transactions',
  what: `transactions, ${AT_ONCE} at once, sent from the same process`,
  open: async (bench) => {
    const workspace = await bench.database.open();
    return {
      figures: [
        perSecond(0.6),
        { name: 'backlog', unit: 's', better: 'lower', target: { of: 'value', bound: 1 } },
      ],
      variants: [
        bareTransactions(bench, workspace, AT_ONCE),
        outboxTransactions(bench, workspace, { name: 'ours', kind: 'ours', role: 'full' }),
      ],
      close: () => workspace.drop(),
    };
  },
};
