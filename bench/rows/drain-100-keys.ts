import { emptyOutbox } from '../harness/backlog';
import { type Row, perSecond } from '../harness/row';
import { outboxDrain, rawDrain } from '../measures/drain';

/** The backlog with 100 keys, in order within each. No peer keeps order. */
export const drain100Keys: Row = {
  name: 'drain-100-keys',
  group: 'drain',
  what: 'backlog sent and completed, 100 keys',
  open: async (bench) => {
    const workspace = await bench.database.open();
    const size = { count: bench.options.messages, bytes: 512 };
    const before = (): Promise<void> => emptyOutbox(workspace);
    return {
      figures: [perSecond(0.5)],
      variants: [
        rawDrain(bench, workspace, size, 1_000),
        outboxDrain(bench, workspace, { name: 'ours', kind: 'ours', size, keys: 100, before }),
        rawDrain(bench, workspace, size, 100, 'ours, keyed'),
      ],
      close: () => workspace.drop(),
    };
  },
};
