import { ORDER_TABLE, insertOrder } from '../harness/names';
import type { Row } from '../harness/row';
import { statementsOfTransaction } from '../measures/library-statements';
import { bareAlone, lacksPgbench, serverAlone, serverRate, tripsOf } from '../measures/server-alone';
import { AT_ONCE } from '../measures/transactions';

/** What a message's row costs the server, with and without a key. */
export const serverTransactions: Row = {
  name: 'server-transactions',
  group: 'server',
  database: 'postgres',
  lacks: lacksPgbench,
  what: `the server alone: an INSERT into ${ORDER_TABLE}, ${AT_ONCE} at once`,
  open: async (bench) => {
    const workspace = await bench.database.open();
    return {
      figures: [serverRate],
      variants: [
        bareAlone(bench, workspace, {
          clients: AT_ONCE,
          tables: [ORDER_TABLE],
          insert: { sql: insertOrder('postgres'), parameters: ['customer 1', 1] },
        }),
        serverAlone(bench, workspace, {
          name: 'with a message',
          kind: 'more',
          tables: [ORDER_TABLE, 'outbox_message'],
          clients: AT_ONCE,
          // INSERT and COMMIT.
          trips: async () => tripsOf(await statementsOfTransaction(bench, workspace, null), 2),
        }),
        serverAlone(bench, workspace, {
          name: 'with a message, a key of its own each',
          kind: 'more',
          tables: [ORDER_TABLE, 'outbox_message'],
          clients: AT_ONCE,
          // The key's lock, INSERT and COMMIT.
          trips: async () => tripsOf(await statementsOfTransaction(bench, workspace, 'a key'), 3),
          uniqueKeys: true,
        }),
      ],
      close: () => workspace.drop(),
    };
  },
};
