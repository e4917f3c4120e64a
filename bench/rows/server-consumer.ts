import { EFFECT_TABLE } from '../harness/names';
import type { Row } from '../harness/row';
import { statementsOfHandling } from '../measures/library-statements';
import { bareAlone, lacksPgbench, serverAlone, serverRate, tripsOf } from '../measures/server-alone';
import { AT_ONCE } from '../measures/transactions';

/** What the inbox's row costs the server. */
export const serverConsumer: Row = {
  name: 'server-consumer',
  group: 'server',
  database: 'postgres',
  lacks: lacksPgbench,
  what: `the server alone: an INSERT into ${EFFECT_TABLE}, ${AT_ONCE} at once`,
  open: async (bench) => {
    const workspace = await bench.database.open();
    return {
      figures: [serverRate],
      variants: [
        bareAlone(bench, workspace, {
          clients: AT_ONCE,
          tables: [EFFECT_TABLE],
          insert: { sql: `INSERT INTO ${EFFECT_TABLE} (n) VALUES ($1)`, parameters: [1] },
        }),
        serverAlone(bench, workspace, {
          name: 'with the entry in the inbox',
          kind: 'more',
          tables: [EFFECT_TABLE, 'inbox_message'],
          clients: AT_ONCE,
          // COMMIT alone: the entry goes out with BEGIN.
          trips: async () => tripsOf(await statementsOfHandling(bench, workspace), 1),
        }),
      ],
      close: () => workspace.drop(),
    };
  },
};
