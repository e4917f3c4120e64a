import { setTimeout as delay } from 'node:timers/promises';
import { emptyOutbox } from '../harness/backlog';
import type { Child } from '../harness/child';
import { type Row } from '../harness/row';
import { percentile } from '../harness/statistics';
import { outboxDrain } from '../measures/drain';
import type { Sent } from '../roles/config';

const LOOK_EVERY_MS = 100;
const MIB = 2 ** 20;

/** Memory of a relay while it drains a backlog that would not fit into it. */
export const memory: Row = {
  name: 'memory',
  group: 'memory',
  what: 'resident memory while a large backlog is drained',
  once: true,
  open: async (bench) => {
    const workspace = await bench.database.open();
    const size = { count: bench.options.memoryRows, bytes: 512 };
    const watch = async ([relay]: readonly Child[]): Promise<Readonly<Record<string, number>>> => {
      const looks: number[] = [];
      do {
        looks.push((await relay!.call<number>('memoryBytes')) / MIB);
        await delay(LOOK_EVERY_MS);
      } while ((await relay!.call<Sent>('sent')).count < size.count);
      // The first tenth of the time is the start of it.
      const later = looks.slice(Math.floor(looks.length / 10));
      const half = Math.ceil(later.length / 2);
      const growth = percentile(later.slice(-half), 0.5) - percentile(later.slice(0, half), 0.5);
      return { max: Math.max(...looks), growth };
    };
    return {
      figures: [
        { name: 'max', unit: 'MiB', better: 'lower', target: { of: 'value', bound: 200 } },
        { name: 'growth', unit: 'MiB', better: 'lower', target: { of: 'value', bound: 10 } },
        { name: 'rate', unit: '/s', better: 'higher' },
      ],
      variants: [
        outboxDrain(bench, workspace, {
          name: 'ours',
          kind: 'ours',
          size,
          before: () => emptyOutbox(workspace),
          watch,
        }),
      ],
      close: () => workspace.drop(),
    };
  },
};
