import { Child, withChildren } from '../harness/child';
import { type Bench, type Figure, type Row, type Sample, type Variant, measured } from '../harness/row';
import { percentile } from '../harness/statistics';
import type { Workspace } from '../harness/workspace';
import type { ApplicationConfig } from '../roles/application';
import type { Moments, OpenLoop } from '../roles/config';
import { peersFor } from './peers';
import { roleConfig } from './role-config';
import { until } from './until';

const BYTES = 512;
const WARM_UP_SECONDS = 1;

export interface LatencyRow {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

/** From the answer to COMMIT until the consumer, in a process of its own, has the message. */
export function latencyRow({ rate, p50, p99 }: LatencyRow): Row {
  const figure = (name: string, bound: number): Figure => ({
    name,
    unit: 'ms',
    better: 'lower',
    target: { of: 'ratio', bound },
  });
  return {
    name: `latency-${rate}`,
    group: 'latency',
    what: `commit → consumer has it, ${rate} tx/s`,
    open: async (bench) => {
      const workspace = await bench.database.open();
      const config: ApplicationConfig = { ...roleConfig(bench, workspace), role: 'full' };
      const load = { rate, seconds: bench.options.seconds, bytes: BYTES };
      return {
        figures: [figure('p50', p50), figure('p99', p99)],
        variants: [
          latency(bench, workspace, load, 'by hand', 'baseline', () =>
            Child.start('roles/by-hand.ts', config),
          ),
          latency(bench, workspace, load, 'ours', 'ours', () => Child.start('roles/application.ts', config)),
          ...peersFor(bench).map(({ name, file }) =>
            latency(bench, workspace, load, name, 'more', () => Child.start(file, config)),
          ),
        ],
        close: () => workspace.drop(),
      };
    },
  };
}

function latency(
  bench: Bench,
  workspace: Workspace,
  load: OpenLoop,
  name: string,
  kind: Variant['kind'],
  start: () => Promise<Child>,
): Variant {
  const arrivals = (): Promise<Child> => Child.start('roles/arrivals.ts', roleConfig(bench, workspace));
  return {
    name,
    kind,
    run: () =>
      withChildren([arrivals, start], async (consumer, application): Promise<Sample> => {
        await through(application, consumer, { ...load, seconds: WARM_UP_SECONDS });
        await workspace.settle();
        const { result, cpu } = await measured(bench, [application], () =>
          through(application, consumer, load),
        );
        return { figures: { p50: percentile(result, 0.5), p99: percentile(result, 0.99) }, cpu };
      }),
  };
}

/** @returns how long each message took */
async function through(application: Child, consumer: Child, load: OpenLoop): Promise<number[]> {
  await consumer.call('take');
  const commits = await application.call<Moments>('openLoop', load);
  if (commits.size === 0) throw new Error('no commit was seen');
  await until(
    () => consumer.call<number>('count'),
    (count) => count >= commits.size,
  );
  const arrivals = await consumer.call<Moments>('take');
  return [...commits].map(([n, committedAt]) => {
    const arrivedAt = arrivals.get(n);
    if (arrivedAt === undefined) throw new Error(`message ${n} did not arrive`);
    return arrivedAt - committedAt;
  });
}
