import { Logger, makeWorkerUtils, run } from 'graphile-worker';

import { until } from '../measures/until';
import { type Payload, servePeer } from './peer';

const TASK = 'publish';
const silent = new Logger(() => () => undefined);

/**
 * Settings after https://worker.graphile.org/docs/performance: a local queue and batches of completions. A job here waits
 * for a confirmation most of its time, so many run at once; the local queue is the recommended one larger than that.
 */
const CONCURRENT_JOBS = 500;
const PRESET = {
  worker: {
    concurrentJobs: CONCURRENT_JOBS,
    localQueue: { size: CONCURRENT_JOBS + 1 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
    maxPoolSize: 10,
    pollInterval: 1_000,
    logger: silent,
  },
};

servePeer(async ({ url, dataSource, publish, published }) => {
  const utils = await makeWorkerUtils({ connectionString: url, logger: silent });
  await utils.migrate();
  let stop: (() => Promise<void>) | undefined;
  return {
    enqueue: (manager, payload) =>
      manager.query('SELECT graphile_worker.add_job($1, payload => $2::json)', [
        TASK,
        JSON.stringify(payload),
      ]),
    fill: (payloads) => utils.addJobs(payloads.map((payload) => ({ identifier: TASK, payload }))),
    work: async () => {
      if (stop !== undefined) return;
      const runner = await run({
        connectionString: url,
        noHandleSignals: true,
        preset: PRESET,
        taskList: { [TASK]: (payload) => publish(payload as Payload) },
      });
      stop = () => runner.stop();
    },
    drained: async (count) => {
      await until(
        () => Promise.resolve(published()),
        (done) => done >= count,
      );
      await until(
        () =>
          dataSource.query<{ left: string }[]>('SELECT count(*) AS left FROM graphile_worker._private_jobs'),
        ([row]) => Number(row!.left) === 0,
      );
    },
    rest: async () => {
      await stop?.();
      stop = undefined;
    },
    close: async () => void (await utils.release()),
  };
});
