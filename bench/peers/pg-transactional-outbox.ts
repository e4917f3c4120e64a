import { randomUUID } from 'node:crypto';
import {
  DatabaseSetup,
  type PollingListenerConfig,
  type TransactionalMessage,
  getDisabledLogger,
  initializeMessageStorage,
  initializePollingMessageListener,
} from 'pg-transactional-outbox';
import { parse } from 'pg-connection-string';

import { until } from '../measures/until';
import { type Payload, servePeer } from './peer';

const TABLE = 'outbox';
/** Messages in work at once; each has a transaction, and so a connection, of its own. */
const BATCH = 20;
const POLL_MS = 20;

type StorageClient = Parameters<ReturnType<typeof initializeMessageStorage>>[1];

/**
 * The polling listener: it needs no `wal_level` other than the usual one. Its documentation lets an outbox do without the
 * protections, which cost a statement a message, and lets unrelated messages run in parallel.
 */
servePeer(async ({ url, dataSource, publish, published }) => {
  const { host, port, user, database } = parse(url);
  const connection = {
    host: host ?? '127.0.0.1',
    port: Number(port),
    user: user ?? 'postgres',
    database: database ?? 'postgres',
    max: BATCH,
  };
  const config: PollingListenerConfig = {
    outboxOrInbox: 'outbox',
    dbListenerConfig: connection,
    settings: {
      dbSchema: 'public',
      dbTable: TABLE,
      nextMessagesFunctionName: 'next_outbox_messages',
      nextMessagesBatchSize: BATCH,
      nextMessagesPollingIntervalInMs: POLL_MS,
      enableMaxAttemptsProtection: false,
      enablePoisonousMessageProtection: false,
      messageCleanupIntervalInMs: 0,
    },
  };
  const setup = {
    outboxOrInbox: 'outbox' as const,
    database: connection.database,
    schema: 'public',
    table: TABLE,
    listenerRole: connection.user,
    nextMessagesName: config.settings.nextMessagesFunctionName,
  };
  const [state] = await dataSource.query<{ exists: boolean }[]>(
    `SELECT to_regclass('${TABLE}') IS NOT NULL AS exists`,
  );
  if (!state!.exists) {
    await dataSource.query(DatabaseSetup.dropAndCreateTable(setup));
    await dataSource.query(DatabaseSetup.createPollingFunction(setup));
    await dataSource.query(DatabaseSetup.setupPollingIndexes(setup));
  }
  const logger = getDisabledLogger();
  const store = initializeMessageStorage(config, logger);
  const message = (payload: Payload): TransactionalMessage => ({
    id: randomUUID(),
    aggregateType: 'order',
    aggregateId: String(payload.n),
    messageType: 'placed',
    concurrency: 'parallel',
    payload,
  });
  let shutdown: (() => Promise<void>) | undefined;
  return {
    enqueue: async (manager, payload) =>
      store(message(payload), (await manager.queryRunner!.connect()) as StorageClient),
    fill: (payloads) =>
      dataSource.query(
        `INSERT INTO ${TABLE} (id, aggregate_type, aggregate_id, message_type, concurrency, payload)
         SELECT gen_random_uuid(), 'order', p->>'n', 'placed', 'parallel', p FROM jsonb_array_elements($1::jsonb) AS p`,
        [JSON.stringify(payloads)],
      ),
    work: async () => {
      [shutdown] = shutdown
        ? [shutdown]
        : initializePollingMessageListener(
            config,
            { handle: ({ payload }) => publish(payload as Payload) },
            logger,
            // The default one begins with one message at a time, for fear of poisonous ones.
            { batchSizeStrategy: () => Promise.resolve(BATCH) },
          );
    },
    drained: async (count) => {
      await until(
        () => Promise.resolve(published()),
        (done) => done >= count,
      );
      await until(
        () =>
          dataSource.query<{ left: string }[]>(
            `SELECT count(*) AS left FROM ${TABLE} WHERE processed_at IS NULL`,
          ),
        ([row]) => Number(row!.left) === 0,
      );
    },
    rest: async () => {
      await shutdown?.();
      shutdown = undefined;
    },
    close: () => Promise.resolve(),
  };
});
