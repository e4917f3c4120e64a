import { DataSource, type EntityManager } from 'typeorm';

import { insertOrder, payloadOf } from '../harness/names';
import type { Handlers } from '../harness/child';
import { configOf, serve } from '../harness/serve';
import { monotonicMs } from '../harness/statistics';
import { CommitClock } from '../roles/commit-clock';
import type { ClosedLoop, OpenLoop, RoleConfig } from '../roles/config';
import { ConfirmedPublisher } from '../roles/confirmed-publisher';
import { closedLoop, openLoop } from '../roles/loops';
import { Order, orderOf } from '../roles/orders';

export interface PeerConfig extends RoleConfig {
  /** Whether it works its jobs off while transactions run. @default true */
  readonly works?: boolean;
}

export interface Payload {
  readonly n: number;
  readonly text: string;
}

/** What a peer brings; the rest is alike for all of them. */
export interface Peer {
  /** Writes a job in the transaction that is open. */
  enqueue(manager: EntityManager, payload: Payload): Promise<unknown>;
  /** Writes many jobs at once. */
  fill(payloads: readonly Payload[]): Promise<unknown>;
  /** Begins to work jobs off. */
  work(): Promise<void>;
  /** Resolves when no job is left. */
  drained(count: number): Promise<void>;
  /** Stops working jobs off. */
  rest(): Promise<void>;
  close(): Promise<void>;
}

export interface PeerTools {
  readonly url: string;
  readonly dataSource: DataSource;
  /** What each job does: publishes, and waits for the confirmation. */
  readonly publish: (payload: Payload) => Promise<void>;
  /** Jobs that have published since they were counted last. */
  readonly published: () => number;
}

const FILL_CHUNK = 5_000;

/** Serves a peer's commands: the same loads, the same business transaction, over the same TypeORM as ours. */
export function servePeer(open: (tools: PeerTools) => Promise<Peer>): void {
  serve(async (): Promise<Handlers> => {
    const { database, brokerUrl, works = true } = configOf<PeerConfig>();
    const publisher = await ConfirmedPublisher.open(brokerUrl);
    const dataSource = await new DataSource({
      ...database,
      poolSize: 20,
      subscribers: [CommitClock],
      entities: [Order],
    }).initialize();
    let published = 0;
    let filled = 0;
    const peer = await open({
      url: database.url,
      dataSource,
      publish: async (payload) => {
        await publisher.publish(Buffer.from(JSON.stringify(payload)));
        published += 1;
      },
      published: () => published,
    });
    if (works) await peer.work();
    const insert = insertOrder(database.type);
    const transact = (
      n: number,
      { bytes, business }: Pick<ClosedLoop, 'bytes' | 'business'>,
      numbered: boolean,
    ): Promise<unknown> =>
      dataSource.transaction(async (manager) => {
        if (numbered) CommitClock.number(manager.queryRunner, n);
        if (business === 'entity') await manager.getRepository(Order).save(orderOf(n));
        else await manager.query(insert, [`customer ${n}`, n]);
        await peer.enqueue(manager, payloadOf(n, bytes));
      });
    return {
      fill: async ({ count, bytes }: { count: number; bytes: number }) => {
        for (let from = 0; from < count; from += FILL_CHUNK) {
          const length = Math.min(FILL_CHUNK, count - from);
          await peer.fill(Array.from({ length }, (_, index) => payloadOf(from + index, bytes)));
        }
        filled = count;
      },
      drain: async () => {
        published = 0;
        const beganAt = monotonicMs();
        await peer.work();
        await peer.drained(filled);
        const endedAt = monotonicMs();
        await peer.rest();
        return endedAt - beganAt;
      },
      closedLoop: (loop: ClosedLoop) => closedLoop(loop, (n) => transact(n, loop, false)),
      openLoop: async (loop: OpenLoop) => {
        CommitClock.take();
        await openLoop(loop, (n) => transact(n, loop, true));
        return CommitClock.take();
      },
      stop: async () => {
        await peer.rest();
        await peer.close();
        await publisher.close();
        await dataSource.destroy();
      },
    };
  });
}
