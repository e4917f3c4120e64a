import { setTimeout as delay } from 'node:timers/promises';
import { DataSource } from 'typeorm';

import { Child, withChildren } from '../harness/child';
import { type Bench, type Row, type Sample, measured } from '../harness/row';
import type { Workspace } from '../harness/workspace';
import { roleConfig } from '../measures/role-config';
import { type StatementStatistics, statementStatistics } from '../measures/statement-statistics';

const PARTS = 10;

/** Steady traffic while another session holds a snapshot open, so that dead rows stay: how much slower do claims get? */
export const snapshot: Row = {
  name: 'snapshot',
  group: 'snapshot',
  what: 'steady traffic beside a held snapshot',
  once: true,
  open: async (bench) => {
    const workspace = await bench.database.open();
    const statistics = await statementStatistics(workspace);
    const run = (held: boolean): Promise<Sample> => traffic(bench, workspace, statistics, held);
    return {
      figures: [
        { name: 'first claims', unit: 'ms', better: 'lower' },
        { name: 'last claims', unit: 'ms', better: 'lower' },
        { name: 'growth', unit: 'times', better: 'lower' },
        { name: 'rate', unit: '/s', better: 'higher' },
      ],
      variants: [
        { name: 'no snapshot', kind: 'baseline', run: () => run(false) },
        { name: 'ours', kind: 'ours', run: () => run(true) },
      ],
      close: () => workspace.drop(),
    };
  },
};

async function traffic(
  bench: Bench,
  workspace: Workspace,
  statistics: StatementStatistics,
  held: boolean,
): Promise<Sample> {
  const config = roleConfig(bench, workspace);
  const seconds = bench.options.snapshotMinutes * 60;
  const load = { rate: bench.options.snapshotRate, seconds, bytes: 512 };
  const start = (role: string) => () => Child.start('roles/application.ts', { ...config, role });
  const release = held ? await holdSnapshot(workspace) : async () => undefined;
  try {
    return await withChildren([start('relay'), start('publisher')], async (relay, publisher) => {
      const { result, cpu } = await measured(bench, [relay, publisher], async () => {
        const loading = publisher.call('openLoop', load);
        const means: number[] = [];
        for (let part = 0; part < PARTS; part += 1) {
          await statistics.reset();
          await delay((seconds / PARTS) * 1_000);
          means.push((await statistics.claims()).meanMs);
        }
        await loading;
        const { count } = await relay.call<{ count: number }>('sent');
        const [first, last] = [means[0]!, means.at(-1)!];
        return { 'first claims': first, 'last claims': last, growth: last / first, rate: count / seconds };
      });
      await relay.call('flush');
      await bench.broker.purge();
      return { figures: result, cpu };
    });
  } finally {
    await release();
  }
}

/** @returns lets go of it */
async function holdSnapshot({ type, url }: Workspace): Promise<() => Promise<void>> {
  const dataSource = await new DataSource({ type, url, poolSize: 1 }).initialize();
  const runner = dataSource.createQueryRunner();
  await runner.startTransaction('REPEATABLE READ');
  await runner.query('SELECT count(*) FROM outbox_message');
  return async () => {
    await runner.rollbackTransaction();
    await runner.release();
    await dataSource.destroy();
  };
}
