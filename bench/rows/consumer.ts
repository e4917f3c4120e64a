import { Child, withChildren } from '../harness/child';
import { EFFECT_TABLE } from '../harness/names';
import { type Bench, type Row, type Sample, type Variant, measured, perSecond } from '../harness/row';
import type { Workspace } from '../harness/workspace';
import { roleConfig } from '../measures/role-config';
import { until } from '../measures/until';
import type { HandlerConfig } from '../roles/handler';

const AT_ONCE = 16;
const WARM_UP = 500;

interface Handled {
  readonly count: number;
  readonly warmAtMs: number;
  readonly lastMs: number;
}

/** A handler with one INSERT, protected against duplicates or not. */
export const consumer: Row = {
  name: 'consumer',
  group: 'consumer',
  what: `one-INSERT handler, ${AT_ONCE} at once`,
  open: async (bench) => {
    const workspace = await bench.database.open();
    return {
      figures: [perSecond(0.88)],
      variants: [
        handling(bench, workspace, 'without @Idempotent()', 'baseline', false),
        handling(bench, workspace, 'with @Idempotent()', 'ours', true),
      ],
      close: () => workspace.drop(),
    };
  },
};

function handling(
  bench: Bench,
  workspace: Workspace,
  name: string,
  kind: Variant['kind'],
  idempotent: boolean,
): Variant {
  const size = { count: Math.max(1_000, Math.ceil(bench.options.messages / 2.5)), bytes: 512 };
  const config: HandlerConfig = {
    ...roleConfig(bench, workspace),
    idempotent,
    concurrency: AT_ONCE,
    warmUp: WARM_UP,
  };
  return {
    name,
    kind,
    run: async (): Promise<Sample> => {
      await workspace.query(`TRUNCATE TABLE ${EFFECT_TABLE}`);
      await workspace.query('TRUNCATE TABLE inbox_message');
      await bench.broker.purge();
      await withChildren([() => Child.start('roles/raw-sender.ts', config)], (sender) =>
        sender.call('drain', { ...size, count: size.count + WARM_UP, inFlight: 1_000 }),
      );
      await workspace.settle();
      return withChildren(
        [() => Child.start('roles/handler.ts', config)],
        async (handler): Promise<Sample> => {
          const handled = (): Promise<Handled> => handler.call<Handled>('handled');
          await until(handled, ({ count }) => count >= WARM_UP);
          const { result, cpu } = await measured(bench, [handler], () =>
            until(handled, ({ count }) => count >= size.count + WARM_UP),
          );
          return { figures: { rate: size.count / ((result.lastMs - result.warmAtMs) / 1_000) }, cpu };
        },
      );
    },
  };
}
