import { emptyOutbox } from '../harness/backlog';
import { type OpenRow, type Row, perSecond } from '../harness/row';
import type { Bench } from '../harness/row';
import type { Workspace } from '../harness/workspace';
import { outboxDrain } from './drain';

export interface BesideRow {
  readonly name: string;
  readonly what: string;
  /** Of the drained messages. @default 0 */
  readonly keys?: number;
  /** Puts the rows there that are in the way, once. */
  readonly fill: (bench: Bench, workspace: Workspace) => Promise<void>;
}

/** How fast a backlog is drained beside other rows, against the same in an empty table. */
export function besideRow({ name, what, keys = 0, fill }: BesideRow): Row {
  return {
    name,
    group: 'beside',
    what,
    open: async (bench): Promise<OpenRow> => {
      const [empty, full] = [await bench.database.open(), await bench.database.open()];
      await fill(bench, full);
      const size = { count: bench.options.messages, bytes: 512 };
      return {
        figures: [perSecond(0.9)],
        variants: [
          outboxDrain(bench, empty, {
            name: 'ours, nothing beside',
            kind: 'baseline',
            size,
            keys,
            before: () => emptyOutbox(empty),
          }),
          // What earlier rounds have sent stays: a few rows more among very many.
          outboxDrain(bench, full, { name: 'ours', kind: 'ours', size, keys, before: () => full.settle() }),
        ],
        close: async () => {
          await empty.drop();
          await full.drop();
        },
      };
    },
  };
}
