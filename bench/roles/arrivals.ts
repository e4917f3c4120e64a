import { connect } from 'amqplib';

import { QUEUE } from '../harness/names';
import { configOf, serve } from '../harness/serve';
import { monotonicMs } from '../harness/statistics';
import type { RoleConfig } from './config';

/** A consumer that does nothing but note when it has which message for the first time. */
serve(async () => {
  const connection = await connect(configOf<RoleConfig>().brokerUrl, { noDelay: true });
  const channel = await connection.createChannel();
  let arrivals = new Map<number, number>();
  await channel.consume(
    QUEUE,
    (message) => {
      const now = monotonicMs();
      if (message === null) return;
      const { n } = JSON.parse(message.content.toString('utf8')) as { n: number };
      if (!arrivals.has(n)) arrivals.set(n, now);
    },
    { noAck: true },
  );
  return {
    count: () => arrivals.size,
    take: () => {
      const taken = arrivals;
      arrivals = new Map();
      return taken;
    },
    stop: () => connection.close(),
  };
});
