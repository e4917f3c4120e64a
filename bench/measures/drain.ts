import { type BacklogSize, countUnsent, fillDue } from '../harness/backlog';
import { Child, withChildren } from '../harness/child';
import { type Bench, type Sample, type Variant, measured } from '../harness/row';
import type { Workspace } from '../harness/workspace';
import type { ApplicationConfig } from '../roles/application';
import type { Sent } from '../roles/config';
import type { Properties } from '../roles/confirmed-publisher';
import type { RawSenderConfig } from '../roles/raw-sender';
import { roleConfig } from './role-config';
import { until } from './until';

/** A process that has just been started is slow for reasons of its own: so many go first. */
const WARM_UP = 1_000;

/** The broker's own limit: amqplib alone. @param properties cost the broker something: it reads and keeps them */
export function rawDrain(
  bench: Bench,
  workspace: Workspace,
  size: BacklogSize,
  inFlight: number,
  properties: Properties = 'none',
): Variant {
  const config: RawSenderConfig = { ...roleConfig(bench, workspace), properties };
  const name = `amqplib, ${inFlight.toLocaleString('en-US')} in flight`;
  return {
    name: properties === 'none' ? name : `${name}, with our properties`,
    kind: properties === 'none' ? 'baseline' : 'more',
    run: () =>
      withChildren([() => Child.start('roles/raw-sender.ts', config)], async (sender) => {
        await sender.call('drain', { ...size, count: warmUpOf(size), inFlight });
        await bench.broker.purge();
        const { result, cpu } = await measured(bench, [sender], () =>
          sender.call<number>('drain', { ...size, inFlight }),
        );
        await bench.broker.purge();
        return { figures: { rate: result }, cpu };
      }),
  };
}

export interface OutboxDrain {
  readonly name: string;
  readonly kind: Variant['kind'];
  readonly size: BacklogSize;
  /** Of the backlog; 0: none. @default 0 */
  readonly keys?: number;
  /** Processes. @default 1 */
  readonly relays?: number;
  /** Leaves the table as the row wants it before each run. */
  readonly before: () => Promise<void>;
  /** Looks at the relays while they work. */
  readonly watch?: (relays: readonly Child[]) => Promise<Readonly<Record<string, number>>>;
}

/** Relays that find a backlog: from the word to begin until the last message is written down as sent. */
export function outboxDrain(bench: Bench, workspace: Workspace, drain: OutboxDrain): Variant {
  const config: ApplicationConfig = { ...roleConfig(bench, workspace), role: 'relay' };
  const { size, keys = 0, relays: processes = 1 } = drain;
  const starts = Array.from({ length: processes }, () => () => Child.start('roles/application.ts', config));
  return {
    name: drain.name,
    kind: drain.kind,
    run: async () => {
      await drain.before();
      return withChildren(starts, async (...relays): Promise<Sample> => {
        await fillDue(workspace, { ...size, count: warmUpOf(size) }, keys);
        await untilSent(relays, warmUpOf(size));
        await all(relays, 'pause');
        await all(relays, 'forget');
        await bench.broker.purge();
        await fillDue(workspace, size, keys);
        await workspace.settle();
        const { result, cpu } = await measured(bench, relays, async () => {
          const beganAt = Math.min(...(await all<number>(relays, 'resume')));
          const watching = drain.watch?.(relays);
          const endedAt = await untilSent(relays, size.count);
          return { rate: size.count / ((endedAt - beganAt) / 1_000), ...(await watching) };
        });
        await checkDrained(bench, workspace, size.count);
        return { figures: result, cpu };
      });
    },
  };
}

/** @returns when the last one was through */
export async function untilSent(relays: readonly Child[], count: number): Promise<number> {
  const sent = await until(
    () => all<Sent>(relays, 'sent'),
    (answers) => answers.reduce((sum, answer) => sum + answer.count, 0) >= count,
  );
  return Math.max(...sent.map(({ lastMs }) => lastMs));
}

/** A figure of messages that did not arrive, or are not written down, would be no figure. */
async function checkDrained(bench: Bench, workspace: Workspace, count: number): Promise<void> {
  const arrived = await bench.broker.count();
  const unsent = await countUnsent(workspace);
  if (arrived < count || unsent > 0) {
    throw new Error(
      `Of ${count} messages ${arrived} are in the queue, and ${unsent} are not written down as sent`,
    );
  }
  await bench.broker.purge();
}

function all<Result = void>(children: readonly Child[], command: string): Promise<Result[]> {
  return Promise.all(children.map((child) => child.call<Result>(command)));
}

function warmUpOf({ count }: BacklogSize): number {
  return Math.min(WARM_UP, count);
}
