/** Names that the campaign uses at the broker and in the database. Nothing else there is touched. */
export const TABLE_PREFIX = 'crash_';

/** Takes everything. */
export const MAIN_EXCHANGE = 'outbox-crash.main';
/** Refuses everything while traffic runs, so that dead letters come to be; takes everything in quiet time. */
export const REFUSING_EXCHANGE = 'outbox-crash.refusing';

/** Full from the beginning: the broker says no to whatever is routed here. */
export const FULL_QUEUE = 'outbox-crash.full';
/** One message a call of the handler. */
export const SINGLE_QUEUE = 'outbox-crash.single';
/** Several messages a call, in one transaction. */
export const BATCH_QUEUE = 'outbox-crash.batch';
/** Read by the checker alone: it sees every copy in the order in which the broker had them. */
export const RECORDER_QUEUE = 'outbox-crash.recorder';

export const EFFECT_QUEUES = [SINGLE_QUEUE, BATCH_QUEUE] as const;

/** Retry delays of the consumers, in milliseconds; a queue of the broker is named after each. */
export const RETRY_DELAYS_MS = [200, 500];

export const deadQueueOf = (queue: string): string => `${queue}.dead`;

/**
 * Quorum queues: a classic one moves a message back from its retry queue without confirming that to itself, and loses it
 * when the broker is killed at that moment.
 */
export const EFFECT_QUEUE_OPTIONS = { durable: true, arguments: { 'x-queue-type': 'quorum' } };
