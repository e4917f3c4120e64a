import { emptyOutbox } from '../harness/backlog';
import { Child, withChildren } from '../harness/child';
import { ORDER_TABLE } from '../harness/names';
import { type Bench, type Sample, type Variant, measured } from '../harness/row';
import { monotonicMs } from '../harness/statistics';
import type { Workspace } from '../harness/workspace';
import type { ApplicationConfig } from '../roles/application';
import type { ClosedLoop, ClosedLoopResult } from '../roles/config';
import { peersFor } from './peers';
import { roleConfig } from './role-config';

export const AT_ONCE = 16;
const BYTES = 512;
const WARM_UP_SECONDS = 1;

type Business = NonNullable<ClosedLoop['business']>;

/** The business transaction alone. */
export function bareTransactions(
  bench: Bench,
  workspace: Workspace,
  concurrency: number,
  business: Business = 'insert',
): Variant {
  return {
    name: concurrency === 1 ? 'bare, one at a time' : `bare, ${concurrency} at once`,
    kind: 'baseline',
    run: () =>
      withChildren(
        [() => Child.start('roles/by-hand.ts', roleConfig(bench, workspace))],
        async (application): Promise<Sample> => {
          const { figures, cpu } = await load(
            bench,
            workspace,
            application,
            [],
            loopOf(bench, { key: null, concurrency, business }),
          );
          return { figures, cpu };
        },
      ),
  };
}

export interface OutboxTransactions {
  readonly name: string;
  readonly kind: Variant['kind'];
  readonly role: ApplicationConfig['role'];
  readonly key?: string;
  /** A relay in another process of this same machine, which takes from its cores. @default false */
  readonly relayBeside?: boolean;
  /** @default insert */
  readonly business?: Business;
}

/** The same with one message in each. */
export function outboxTransactions(bench: Bench, workspace: Workspace, given: OutboxTransactions): Variant {
  const { name, kind, role, key = null, relayBeside = false, business = 'insert' } = given;
  const start = (as: ApplicationConfig['role']) => () =>
    Child.start('roles/application.ts', { ...roleConfig(bench, workspace), role: as });
  return {
    name,
    kind,
    run: () =>
      withChildren(
        relayBeside ? [start(role), start('relay')] : [start(role)],
        async (application, ...relays) => {
          const loop = loopOf(bench, { key, concurrency: AT_ONCE, business });
          const sample = await load(bench, workspace, application, relays, loop);
          if (role !== 'full') return sample;
          const endedAt = monotonicMs();
          await application.call('flush');
          return { ...sample, figures: { ...sample.figures, backlog: (monotonicMs() - endedAt) / 1_000 } };
        },
      ),
  };
}

/** The peers, which write a job in the same transaction; nobody works it off meanwhile. */
export function peerTransactions(
  bench: Bench,
  workspace: Workspace,
  business: Business = 'insert',
): Variant[] {
  return peersFor(bench).map(({ name, file }) => ({
    name,
    kind: 'more',
    run: () =>
      withChildren(
        [() => Child.start(file, { ...roleConfig(bench, workspace), works: false })],
        (application) =>
          load(
            bench,
            workspace,
            application,
            [],
            loopOf(bench, { key: null, concurrency: AT_ONCE, business }),
          ),
      ),
  }));
}

function loopOf(
  { options }: Bench,
  loop: Pick<ClosedLoop, 'key' | 'concurrency'> & { readonly business: Business },
): ClosedLoop {
  return { ...loop, seconds: options.seconds, bytes: BYTES };
}

async function load(
  bench: Bench,
  workspace: Workspace,
  application: Child,
  others: readonly Child[],
  loop: ClosedLoop,
): Promise<Sample> {
  await bench.broker.purge();
  await workspace.query(`TRUNCATE TABLE ${ORDER_TABLE}`);
  await emptyOutbox(workspace);
  await application.call('closedLoop', { ...loop, seconds: WARM_UP_SECONDS });
  await workspace.settle();
  const { result, cpu } = await measured(bench, [application, ...others], () =>
    application.call<ClosedLoopResult>('closedLoop', loop),
  );
  return { figures: { rate: result.perSecond }, cpu };
}
