import { emptyOutbox } from '../harness/backlog';
import { type Row, perSecond } from '../harness/row';
import { outboxDrain, rawDrain } from '../measures/drain';

/** One message at a time takes its time: a tenth of the usual backlog says as much. */
const SHARE = 10;

/** The backlog with one key: each message waits for the one before. */
export const drainOneKey: Row = {
  name: 'drain-one-key',
  group: 'drain',
  what: 'backlog sent and completed, one key',
  open: async (bench) => {
    const workspace = await bench.database.open();
    const size = { count: Math.ceil(bench.options.messages / SHARE), bytes: 512 };
    const before = (): Promise<void> => emptyOutbox(workspace);
    return {
      figures: [perSecond(0.85)],
      variants: [
        rawDrain(bench, workspace, size, 1),
        outboxDrain(bench, workspace, { name: 'ours', kind: 'ours', size, keys: 1, before }),
        rawDrain(bench, workspace, size, 1, 'ours, keyed'),
      ],
      close: () => workspace.drop(),
    };
  },
};
