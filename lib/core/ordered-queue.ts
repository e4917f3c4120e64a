import { crc32 } from 'node:zlib';
import { ENVELOPE_HEADERS } from './envelope';
import { OutboxConfigurationError, describeError } from './errors';

/** The slot of a message's key. Not `x-…`: an exchange of the type `headers` does not look at such names. */
export const SLOT_HEADER = 'outbox-slot';

/** More partitions than slots cannot be. A number in the wire format: changing it moves keys to other partitions. */
export const SLOTS = 64;

/**
 * How a queue's exchange finds the partition of a message.
 * - `slots`: by the slot that each outbox writes into each message. An exchange of the type `headers` with a binding for
 *   each slot, the same at any time and on any broker.
 * - `consistentHash`: by an exchange of the type `x-consistent-hash`, over the header with the key. The broker needs its
 *   plugin, and gives keys to other partitions after a restart than before, while earlier messages of theirs still wait.
 */
export type PartitionSpread = 'slots' | 'consistentHash';

/** A queue in partitions, each with a single active consumer: what one key's messages go through stays in order. */
export interface OrderedQueue {
  /** The consumer's queue. Its partitions are `<name>.0`, `<name>.1` and so on. */
  readonly name: string;
  readonly partitions: number;
  readonly spread: PartitionSpread;
  /** What it receives. */
  readonly bindings: readonly { readonly exchange: string; readonly routingKey: string }[];
  /** Further arguments of the partitions' queues, e.g. `{ 'x-queue-type': 'quorum' }`. */
  readonly arguments: Readonly<Record<string, unknown>>;
}

/** A channel of amqplib, as far as it is used here. */
export interface DeclaringChannel {
  assertExchange(name: string, type: string, options: object): PromiseLike<unknown>;
  assertQueue(name: string, options: object): PromiseLike<unknown>;
  bindQueue(queue: string, exchange: string, pattern: string, args?: object): PromiseLike<unknown>;
  bindExchange(destination: string, source: string, pattern: string): PromiseLike<unknown>;
  on(event: 'error', listener: () => void): unknown;
  close(): PromiseLike<unknown>;
}

/** A connection of amqplib, as far as it is used here. */
export interface DeclaringConnection {
  createChannel(): PromiseLike<DeclaringChannel>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  removeListener(event: 'error', listener: (error: Error) => void): unknown;
}

/** The broker closed the whole connection: it does not know a type of exchange. */
const COMMAND_INVALID = 503;

/** The slot of a key. Every sender must find the same one, in every version. */
export function slotOf(key: string): string {
  return String(crc32(key) % SLOTS);
}

export function partitionName({ name }: OrderedQueue, index: number): string {
  return `${name}.${index}`;
}

export function partitionArguments(queue: OrderedQueue): Readonly<Record<string, unknown>> {
  return { ...queue.arguments, 'x-single-active-consumer': true };
}

/** Why an ordered queue was not declared. */
export interface DeclarationFailure {
  readonly queue: OrderedQueue;
  /** Names the remedy. */
  readonly error: OutboxConfigurationError;
  /**
   * - `refused`: the connection goes on.
   * - `unknownType`: the broker lacks the plugin, and has closed the whole connection for it, as it would the next one.
   * - `disconnected`: nobody knows.
   */
  readonly kind: 'refused' | 'unknownType' | 'disconnected';
}

/**
 * Declares ordered queues, all at once: from the exchanges that one is bound to, messages go to an exchange `<name>`, which
 * gives each key to one partition.
 *
 * What has no slot, because it was not sent by an outbox, goes to the first partition by the alternate exchange. That one's
 * name bears the number of partitions, so that the broker refuses another number: with the bindings of both, messages would
 * go to two partitions each.
 * @returns those that were not declared. Never rejects.
 */
export async function declareOrderedQueues(
  connection: DeclaringConnection,
  queues: readonly OrderedQueue[],
): Promise<readonly DeclarationFailure[]> {
  let closedBy: Error | undefined;
  const onError = (error: Error): void => {
    closedBy = error;
  };
  connection.on('error', onError);
  const failures: DeclarationFailure[] = [];
  const declareOne = async (queue: OrderedQueue): Promise<void> => {
    try {
      // A channel of its own: a refusal closes the channel that it happens on.
      const channel = await connection.createChannel();
      // What is refused is told by the call that was refused.
      channel.on('error', () => undefined);
      await declare(channel, queue);
      await channel.close();
    } catch (error) {
      const unknownType = queue.spread === 'consistentHash' && codeOf(closedBy) === COMMAND_INVALID;
      const cause = unknownType ? closedBy : error;
      failures.push({
        queue,
        error: new OutboxConfigurationError(`The ordered queue ${queue.name}`, refusal(queue, cause), {
          cause,
        }),
        kind: unknownType ? 'unknownType' : codeOf(error) === undefined ? 'disconnected' : 'refused',
      });
    }
  };
  await Promise.all(queues.map(declareOne));
  connection.removeListener('error', onError);
  return failures;
}

async function declare(channel: DeclaringChannel, queue: OrderedQueue): Promise<void> {
  const { name, partitions, spread, bindings } = queue;
  const rest = `${name}.of-${partitions}`;
  const durable = { durable: true };
  const byHash = spread === 'consistentHash';
  await channel.assertExchange(name, byHash ? 'x-consistent-hash' : 'headers', {
    ...durable,
    alternateExchange: rest,
    ...(byHash ? { arguments: { 'hash-header': ENVELOPE_HEADERS.key } } : {}),
  });
  await channel.assertExchange(rest, 'fanout', durable);
  for (let index = 0; index < partitions; index += 1) {
    const partition = partitionName(queue, index);
    await channel.assertQueue(partition, { ...durable, arguments: partitionArguments(queue) });
    if (byHash) await channel.bindQueue(partition, name, '1');
    for (let slot = index; slot < SLOTS && !byHash; slot += partitions) {
      await channel.bindQueue(partition, name, '', { 'x-match': 'all', [SLOT_HEADER]: String(slot) });
    }
  }
  await channel.bindQueue(partitionName(queue, 0), rest, '');
  // Last, so that no message comes before each key has its place.
  for (const { exchange, routingKey } of bindings) await channel.bindExchange(name, exchange, routingKey);
}

function refusal({ name, partitions, bindings }: OrderedQueue, cause: unknown): string {
  const text = describeError(cause);
  switch (codeOf(cause)) {
    case 404: {
      const sources = [...new Set(bindings.map(({ exchange }) => exchange))].join(', ');
      return `is bound to ${sources}, and the broker has no such exchange (${text}). Declare it first.`;
    }
    case 406:
      return (
        `is there already, with another number of partitions than ${partitions} or with other arguments (${text}). Say the ` +
        `same everywhere; or let its consumers empty it while nothing is sent, delete the exchange ${name} (and, for other ` +
        `arguments, its queues), and start again.`
      );
    case COMMAND_INVALID:
      return (
        `needs a plugin that the broker has not enabled (${text}). Enable it: rabbitmq-plugins enable ` +
        `rabbitmq_consistent_hash_exchange; or leave spread: 'consistentHash' out.`
      );
    default:
      return `was not declared: ${text}`;
  }
}

function codeOf(error: unknown): number | undefined {
  return (error as { code?: number } | undefined)?.code;
}

/** @throws OutboxConfigurationError for what RabbitMQ could not take, or could not keep in order. */
export function checkedOrderedQueue(option: string, queue: OrderedQueue): OrderedQueue {
  const { name, partitions, spread, bindings } = queue;
  if (typeof name !== 'string' || name === '' || Buffer.byteLength(name) > 240) {
    throw new OutboxConfigurationError(`${option}.name`, 'must be a name of 1 to 240 bytes.');
  }
  if (!Number.isSafeInteger(partitions) || partitions < 1 || partitions > SLOTS) {
    throw new OutboxConfigurationError(
      `${option}.partitions`,
      `is ${String(partitions)}; give a whole number from 1 to ${SLOTS}. A power of two spreads best.`,
    );
  }
  if (spread !== 'slots' && spread !== 'consistentHash') {
    throw new OutboxConfigurationError(
      `${option}.spread`,
      `is '${String(spread)}'; give 'slots' or 'consistentHash'.`,
    );
  }
  if (bindings.length === 0) {
    throw new OutboxConfigurationError(
      `${option}.bind`,
      "is empty. Give routing keys, e.g. ['order.placed'].",
    );
  }
  return queue;
}
