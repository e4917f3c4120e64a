import PgBoss from 'pg-boss';

import { type Payload, servePeer } from './peer';

const QUEUE = 'publish';
/** A worker of pg-boss sleeps for what is left of its interval, at least half a second long, unless it is notified. */
const INTERVAL_SECONDS = 0.5;
const BATCH = 1_000;
/** Workers at once: one completes its batch while another publishes. */
const WORKERS = 2;

servePeer(async ({ url, publish, published }) => {
  const boss = new PgBoss({ connectionString: url, max: 10, supervise: false, schedule: false });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  await boss.createQueue(QUEUE);
  let workers: string[] = [];
  const rest = async (): Promise<void> => {
    for (const id of workers.splice(0)) await boss.offWork({ id });
  };
  return {
    enqueue: (manager, payload) =>
      boss.send(QUEUE, payload, {
        db: {
          executeSql: async (text: string, values: unknown[]) => ({
            rows: await manager.query<unknown[]>(text, values),
          }),
        },
      }),
    fill: (payloads) => boss.insert(payloads.map((data) => ({ name: QUEUE, data }))),
    work: async () => {
      if (workers.length > 0) return;
      const options = { batchSize: BATCH, pollingIntervalSeconds: INTERVAL_SECONDS };
      const work = async (): Promise<string> => {
        const id: string = await boss.work<Payload>(QUEUE, options, async (jobs) => {
          await Promise.all(jobs.map(({ data }) => publish(data)));
          // There may be more: look again at once.
          boss.notifyWorker(id);
        });
        return id;
      };
      workers = await Promise.all(Array.from({ length: WORKERS }, work));
    },
    drained: async (count) => {
      const done = async (): Promise<boolean> =>
        published() >= count && (await boss.getQueueSize(QUEUE, { before: 'completed' })) === 0;
      while (!(await done())) await new Promise((resolve) => setTimeout(resolve, 10));
    },
    rest,
    close: async () => {
      await boss.stop({ graceful: false, wait: true });
    },
  };
});
