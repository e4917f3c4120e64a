import { DataSource } from 'typeorm';

import { insertOrder, payloadOf } from '../harness/names';
import { configOf, serve } from '../harness/serve';
import { CommitClock } from './commit-clock';
import type { ClosedLoop, OpenLoop, RoleConfig } from './config';
import { ConfirmedPublisher } from './confirmed-publisher';
import { closedLoop, openLoop } from './loops';
import { Order, orderOf } from './orders';

/** An application without an outbox: the business transaction bare, or with a message published by hand after its commit. */
serve(async () => {
  const { database, brokerUrl } = configOf<RoleConfig>();
  const publisher = await ConfirmedPublisher.open(brokerUrl);
  const dataSource = await new DataSource({
    ...database,
    poolSize: 20,
    subscribers: [CommitClock],
    entities: [Order],
  }).initialize();
  const insert = insertOrder(database.type);
  return {
    closedLoop: (loop: ClosedLoop) =>
      closedLoop(loop, (n) =>
        dataSource.transaction<unknown>((manager) =>
          loop.business === 'entity'
            ? manager.getRepository(Order).save(orderOf(n))
            : manager.query(insert, [`customer ${n}`, n]),
        ),
      ),
    openLoop: async (loop: OpenLoop) => {
      CommitClock.take();
      await openLoop(loop, async (n) => {
        await dataSource.transaction(async (manager) => {
          CommitClock.number(manager.queryRunner, n);
          await manager.query(insert, [`customer ${n}`, n]);
        });
        await publisher.publish(Buffer.from(JSON.stringify(payloadOf(n, loop.bytes))));
      });
      return CommitClock.take();
    },
    stop: async () => {
      await publisher.close();
      await dataSource.destroy();
    },
  };
});
