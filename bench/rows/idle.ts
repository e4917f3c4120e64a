import { setTimeout as delay } from 'node:timers/promises';
import { Child, withChildren } from '../harness/child';
import { type Row, type Sample, measured } from '../harness/row';
import { roleConfig } from '../measures/role-config';
import { statementStatistics } from '../measures/statement-statistics';

/** A relay that finds nothing looks less and less often, and is at its slowest by then. */
const SETTLE_MS = 20_000;
const QUICK_SETTLE_MS = 2_000;

/** What a relay costs that has nothing to do. */
export const idle: Row = {
  name: 'idle',
  group: 'idle',
  what: 'an idle relay',
  open: async (bench) => {
    const workspace = await bench.database.open();
    const statistics = await statementStatistics(workspace);
    return {
      figures: [
        { name: 'queries', unit: '/s', better: 'lower', target: { of: 'value', bound: 1 } },
        { name: 'cpu', unit: '% of a core', better: 'lower', target: { of: 'value', bound: 1 } },
      ],
      variants: [
        {
          name: 'ours',
          kind: 'ours',
          run: () =>
            withChildren(
              [() => Child.start('roles/application.ts', { ...roleConfig(bench, workspace), role: 'relay' })],
              async (relay): Promise<Sample> => {
                await delay(bench.options.quick ? QUICK_SETTLE_MS : SETTLE_MS);
                await statistics.reset();
                const { result, cpu } = await measured(bench, [relay], async () => {
                  const beganAt = performance.now();
                  await delay(bench.options.idleSeconds * 1_000);
                  const seconds = (performance.now() - beganAt) / 1_000;
                  return (await statistics.count()) / seconds;
                });
                const figures: Record<string, number> = { queries: result };
                if (cpu !== null) figures.cpu = cpu.node * 100;
                return { figures, cpu };
              },
            ),
        },
      ],
      close: () => workspace.drop(),
    };
  },
};
