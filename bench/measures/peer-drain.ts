import type { BacklogSize } from '../harness/backlog';
import { Child, withChildren } from '../harness/child';
import { type Bench, type Variant, measured } from '../harness/row';
import type { Workspace } from '../harness/workspace';
import { peersFor } from './peers';
import { roleConfig } from './role-config';

const WARM_UP = 1_000;

/** The same backlog as jobs of the peers, each of which publishes one message and waits for its confirmation. */
export function peerDrains(bench: Bench, workspace: Workspace, usual: BacklogSize): Variant[] {
  return peersFor(bench).map(({ name, file, backlogMax = Infinity }) => {
    const size = { ...usual, count: Math.min(usual.count, backlogMax) };
    const restriction = size.count < usual.count ? ` (backlog of ${size.count.toLocaleString('en-US')})` : '';
    const run = () =>
      withChildren(
        [() => Child.start(file, { ...roleConfig(bench, workspace), works: false })],
        async (peer) => {
          await peer.call('fill', { ...size, count: Math.min(WARM_UP, size.count) });
          await peer.call('drain');
          await bench.broker.purge();
          await peer.call('fill', size);
          await workspace.settle();
          const { result, cpu } = await measured(bench, [peer], () => peer.call<number>('drain'));
          const arrived = await bench.broker.count();
          if (arrived < size.count) throw new Error(`${name}: ${arrived} of ${size.count} are in the queue`);
          await bench.broker.purge();
          return { figures: { rate: size.count / (result / 1_000) }, cpu };
        },
      );
    return { name: `${name}${restriction}`, kind: 'more', run };
  });
}
