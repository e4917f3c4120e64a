import { ORDER_TABLE, insertOrder } from '../harness/names';
import type { Row } from '../harness/row';
import { statementsOfTransaction } from '../measures/library-statements';
import { bareAlone, lacksPgbench, serverAlone, serverRate, tripsOf } from '../measures/server-alone';
import { AT_ONCE } from '../measures/transactions';

/** What one hot key costs the server, to the bare transaction one at a time. */
export const serverHotKey: Row = {
  name: 'server-hot-key',
  group: 'server',
  database: 'postgres',
  lacks: lacksPgbench,
  what: `the server alone: an INSERT into ${ORDER_TABLE}, to one at a time`,
  open: async (bench) => {
    const workspace = await bench.database.open();
    return {
      figures: [serverRate],
      variants: [
        bareAlone(bench, workspace, {
          clients: 1,
          tables: [ORDER_TABLE],
          insert: { sql: insertOrder('postgres'), parameters: ['customer 1', 1] },
        }),
        serverAlone(bench, workspace, {
          name: `with a message, one hot key, ${AT_ONCE} at once`,
          kind: 'more',
          tables: [ORDER_TABLE, 'outbox_message'],
          clients: AT_ONCE,
          trips: async () => tripsOf(await statementsOfTransaction(bench, workspace, 'hot'), 3),
        }),
      ],
      close: () => workspace.drop(),
    };
  },
};
