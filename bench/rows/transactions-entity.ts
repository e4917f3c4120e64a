import { type Row, perSecond } from '../harness/row';
import { AT_ONCE, bareTransactions, outboxTransactions, peerTransactions } from '../measures/transactions';
import { UNIQUE } from '../roles/config';

/** What most applications do in a transaction, an entity saved by its repository, and the decorator for the message. */
export const transactionsEntity: Row = {
  name: 'transactions-entity',
  group: 'transactions',
  what: `an entity saved, ${AT_ONCE} at once, relay elsewhere`,
  open: async (bench) => {
    const workspace = await bench.database.open();
    const business = 'entity';
    return {
      figures: [perSecond()],
      variants: [
        bareTransactions(bench, workspace, AT_ONCE, business),
        outboxTransactions(bench, workspace, { name: 'ours', kind: 'ours', role: 'publisher', business }),
        outboxTransactions(bench, workspace, {
          name: 'ours, a key of its own each',
          kind: 'more',
          role: 'publisher',
          key: UNIQUE,
          business,
        }),
        outboxTransactions(bench, workspace, {
          name: 'ours, sent from the same process',
          kind: 'more',
          role: 'full',
          business,
        }),
        ...peerTransactions(bench, workspace, business),
      ],
      close: () => workspace.drop(),
    };
  },
};
