import { emptyOutbox } from '../harness/backlog';
import { type Row, perSecond } from '../harness/row';
import { outboxDrain, rawDrain } from '../measures/drain';
import { peerDrains } from '../measures/peer-drain';

export const USUAL_BYTES = 512;

/** A backlog without keys is sent and written down, for one size of payload. */
export function drainNoKey(bytes: number): Row {
  const name = 'drain-no-key';
  return {
    ...(bytes === USUAL_BYTES ? { name } : { name: `${name}-${bytes}`, varietyOf: name }),
    group: 'drain',
    what: `backlog sent and completed, no key, ${bytes} B`,
    open: async (bench) => {
      const workspace = await bench.database.open();
      const size = { count: bench.options.messages, bytes };
      const [main, ...others] = bench.options.relays;
      const drain = (relays: number, kind: 'ours' | 'more') =>
        outboxDrain(bench, workspace, {
          name: relays === 1 ? 'ours' : `ours, ${relays} relays`,
          kind,
          size,
          relays,
          before: () => emptyOutbox(workspace),
        });
      return {
        figures: [perSecond(0.75)],
        variants: [
          rawDrain(bench, workspace, size, 1_000),
          drain(main ?? 1, 'ours'),
          ...others.map((relays) => drain(relays, 'more')),
          rawDrain(bench, workspace, size, 1_000, 'ours'),
          ...peerDrains(bench, workspace, size),
        ],
        close: () => workspace.drop(),
      };
    },
  };
}
