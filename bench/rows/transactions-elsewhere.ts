import { type Row, perSecond } from '../harness/row';
import { AT_ONCE, bareTransactions, outboxTransactions, peerTransactions } from '../measures/transactions';

/** One message in each transaction; the relay is elsewhere, so here nothing is sent. */
export const transactionsElsewhere: Row = {
  name: 'transactions-elsewhere',
  group: 'transactions',
  what: `transactions, ${AT_ONCE} at once, relay elsewhere`,
  open: async (bench) => {
    const workspace = await bench.database.open();
    const role = 'publisher';
    return {
      figures: [perSecond(0.8)],
      variants: [
        bareTransactions(bench, workspace, AT_ONCE),
        outboxTransactions(bench, workspace, { name: 'ours', kind: 'ours', role }),
        outboxTransactions(bench, workspace, {
          name: 'ours, relay on this machine, too',
          kind: 'more',
          role,
          relayBeside: true,
        }),
        ...peerTransactions(bench, workspace),
      ],
      close: () => workspace.drop(),
    };
  },
};
