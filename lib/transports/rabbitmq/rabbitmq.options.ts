import { OutboxConfigurationError } from '../../core/errors';
import { type OrderedQueue, type PartitionSpread, checkedOrderedQueue } from '../../core/ordered-queue';

/**
 * What becomes of a message that no queue is bound for.
 * - `retry`: refused, and tried again later: its consumer may be deployed after its producer.
 * - `deadLetter`: given up on at once.
 * - `accept`: sent. For types that are published whether or not somebody listens.
 */
export type UnroutablePolicy = 'retry' | 'deadLetter' | 'accept';

/** One of `orderedQueues`. */
export interface OrderedQueueOptions {
  /** The queue that its `@RabbitSubscribe` names. Its partitions are `<name>.0`, `<name>.1` and so on. */
  name: string;
  /** From 1 to 64, as in its `@Idempotent({ ordered: { partitions } })`. */
  partitions: number;
  /** Routing keys, or patterns of a topic exchange. */
  bind: string | readonly string[];
  /** The exchange that it is bound to. @default rabbitMq.exchange */
  exchange?: string;
  /** How partitions are found, as in its `@Idempotent({ ordered })`. @default 'slots' */
  spread?: PartitionSpread;
  /** Further arguments of its queues, as in its `@RabbitSubscribe`, e.g. `{ 'x-queue-type': 'quorum' }`. @default {} */
  arguments?: Readonly<Record<string, unknown>>;
}

/** Options of `rabbitMq()`. */
export interface RabbitMqOptions {
  /** Where messages go that name no destination. */
  exchange: string;
  /** The broker, or several nodes of a cluster. @default those of RabbitMQModule, with its connection options */
  uri?: string | readonly string[];
  /** Which of RabbitMQModule's connections to take the address from. Not together with `uri`. @default the module's own */
  connectionName?: string;
  /** For all types, or by type, with `default` for the others. @default 'retry' */
  unroutable?: UnroutablePolicy | Readonly<Record<string, UnroutablePolicy>>;
  /**
   * Whether to declare `exchange` at each connection, so that the order in which applications start does not matter.
   * Exchanges in RabbitMQModule's configuration are declared as it says, unless this is false or a `uri` is given.
   * @default undefined (only those of RabbitMQModule)
   */
  declareExchange?: boolean;
  /** The type of `exchange`, where `declareExchange: true` declares it and RabbitMQModule's configuration has no word on it. @default 'topic' */
  exchangeType?: string;
  /**
   * Queues in partitions, which keep each key's messages in order, to be declared at each connection. Their consumers
   * declare them, too: what is declared here takes messages before a consumer has ever started.
   * @default []
   */
  orderedQueues?: readonly OrderedQueueOptions[];
  /** How long a message may wait for its confirmation. Shorter than `relay.leaseMs`. @default 10000 */
  sendTimeoutMs?: number;
  /** Messages without confirmation at one time. @default 2000 */
  inFlightMax?: number;
  /** How long connecting may take. @default 10000 */
  connectTimeoutMs?: number;
  /** The longest pause between two tries to connect; the first is 100 ms, each is twice the one before. @default 5000 */
  reconnectDelayMaxMs?: number;
  /** Heartbeat, where the URI does not say. Whole seconds. @default RabbitMQModule's, or else 10 */
  heartbeatSeconds?: number;
  /** Given to amqplib's `connect()` with a `uri`: `ca`, `cert`, `key`, `clientProperties` and the like. @default {} */
  socketOptions?: Readonly<Record<string, unknown>>;
}

/** The options, with every default in its place. */
export interface ResolvedRabbitMqOptions {
  readonly exchange: string;
  readonly uris: readonly string[] | null;
  readonly connectionName: string | undefined;
  readonly unroutable: (type: string) => UnroutablePolicy;
  readonly declareExchange: boolean | undefined;
  readonly exchangeType: string;
  readonly orderedQueues: readonly OrderedQueue[];
  readonly sendTimeoutMs: number;
  readonly inFlightMax: number;
  readonly connectTimeoutMs: number;
  readonly reconnectDelayMaxMs: number;
  readonly heartbeatSeconds: number | undefined;
  readonly socketOptions: Readonly<Record<string, unknown>>;
}

export const RABBITMQ_DEFAULTS = {
  unroutable: 'retry',
  exchangeType: 'topic',
  sendTimeoutMs: 10_000,
  inFlightMax: 2_000,
  connectTimeoutMs: 10_000,
  reconnectDelayMaxMs: 5_000,
  heartbeatSeconds: 10,
} as const;

const KNOWN: Readonly<Record<keyof RabbitMqOptions, true>> = {
  exchange: true,
  uri: true,
  connectionName: true,
  unroutable: true,
  declareExchange: true,
  exchangeType: true,
  orderedQueues: true,
  sendTimeoutMs: true,
  inFlightMax: true,
  connectTimeoutMs: true,
  reconnectDelayMaxMs: true,
  heartbeatSeconds: true,
  socketOptions: true,
};

/** Puts the defaults in, and refuses what cannot work. */
export function resolveRabbitMqOptions(given: RabbitMqOptions): ResolvedRabbitMqOptions {
  for (const name of Object.keys(given)) {
    if (!(name in KNOWN)) fail(name, `is no option. Known here: ${Object.keys(KNOWN).join(', ')}.`);
  }
  if (typeof given.exchange !== 'string' || given.exchange === '' || given.exchange.includes('/')) {
    fail('exchange', "must be the name of an exchange, without '/'. E.g. rabbitMq({ exchange: 'shop' }).");
  }
  if (given.uri !== undefined && given.connectionName !== undefined) {
    fail('connectionName', 'and uri exclude each other. Leave one out.');
  }
  if (given.socketOptions !== undefined && given.uri === undefined) {
    fail(
      'socketOptions',
      'go with a uri; without one, those of RabbitMQModule (connectionManagerOptions) are used.',
    );
  }
  if (given.exchangeType !== undefined && given.declareExchange !== true) {
    fail('exchangeType', 'is of use with declareExchange: true only.');
  }
  return {
    exchange: given.exchange,
    uris: given.uri === undefined ? null : checkedUris(given.uri),
    connectionName: given.connectionName,
    unroutable: unroutableLookup(given.unroutable ?? RABBITMQ_DEFAULTS.unroutable),
    declareExchange: given.declareExchange,
    exchangeType: given.exchangeType ?? RABBITMQ_DEFAULTS.exchangeType,
    orderedQueues: (given.orderedQueues ?? []).map((queue, index) =>
      orderedQueue(given.exchange, queue, index),
    ),
    sendTimeoutMs: positive('sendTimeoutMs', given.sendTimeoutMs ?? RABBITMQ_DEFAULTS.sendTimeoutMs),
    inFlightMax: positive('inFlightMax', given.inFlightMax ?? RABBITMQ_DEFAULTS.inFlightMax),
    connectTimeoutMs: positive(
      'connectTimeoutMs',
      given.connectTimeoutMs ?? RABBITMQ_DEFAULTS.connectTimeoutMs,
    ),
    reconnectDelayMaxMs: positive(
      'reconnectDelayMaxMs',
      given.reconnectDelayMaxMs ?? RABBITMQ_DEFAULTS.reconnectDelayMaxMs,
    ),
    heartbeatSeconds:
      given.heartbeatSeconds === undefined ? undefined : positive('heartbeatSeconds', given.heartbeatSeconds),
    socketOptions: given.socketOptions ?? {},
  };
}

function orderedQueue(defaultExchange: string, given: OrderedQueueOptions, index: number): OrderedQueue {
  const { name, partitions, bind, exchange = defaultExchange, spread = 'slots' } = given;
  const bindings = [bind].flat().map((routingKey) => ({ exchange, routingKey }));
  const queue = { name, partitions, spread, bindings, arguments: given.arguments ?? {} };
  return checkedOrderedQueue(`rabbitMq.orderedQueues[${index}]`, queue);
}

/** A URI is never quoted: it has a password in it. */
function checkedUris(given: string | readonly string[]): readonly string[] {
  const uris = typeof given === 'string' ? [given] : [...given];
  if (uris.length === 0)
    fail('uri', 'is an empty list. Give one at least, or leave it out to use that of RabbitMQModule.');
  uris.forEach((uri, index) => {
    const protocol = URL.canParse(uri) ? new URL(uri).protocol : null;
    if (protocol !== 'amqp:' && protocol !== 'amqps:') {
      fail(
        uris.length > 1 ? `uri[${index}]` : 'uri',
        "is no RabbitMQ address. Give 'amqp://user:password@host:5672/vhost'.",
      );
    }
  });
  return uris;
}

function unroutableLookup(
  given: NonNullable<RabbitMqOptions['unroutable']>,
): (type: string) => UnroutablePolicy {
  if (typeof given === 'string') {
    const policy = policyOf('unroutable', given);
    return () => policy;
  }
  const byType = new Map(
    Object.entries(given).map(([type, policy]) => [type, policyOf(`unroutable.${type}`, policy)]),
  );
  const otherwise = byType.get('default') ?? RABBITMQ_DEFAULTS.unroutable;
  return (type) => byType.get(type) ?? otherwise;
}

function policyOf(option: string, policy: UnroutablePolicy): UnroutablePolicy {
  if (!['retry', 'deadLetter', 'accept'].includes(policy)) {
    fail(option, `is '${String(policy)}'; give 'retry', 'deadLetter' or 'accept'.`);
  }
  return policy;
}

function positive(option: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1)
    fail(option, `is ${String(value)}; give a whole number of at least 1.`);
  return value;
}

function fail(option: string, message: string): never {
  throw new OutboxConfigurationError(`rabbitMq.${option}`, message);
}
