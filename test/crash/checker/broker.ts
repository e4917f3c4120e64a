import { type Channel, type ChannelModel, connect, type ConsumeMessage } from 'amqplib';

import { waitFor } from '../../support/wait-for';
import type { CampaignPayload } from '../protocol';
import {
  deadQueueOf,
  EFFECT_QUEUE_OPTIONS,
  EFFECT_QUEUES,
  FULL_QUEUE,
  MAIN_EXCHANGE,
  RECORDER_QUEUE,
  REFUSING_EXCHANGE,
  RETRY_DELAYS_MS,
} from '../topology';
import type { Copy } from './facts';

const RECONNECT_DELAY_MS = 200;
/** Whoever takes every message. */
const TAKERS = [RECORDER_QUEUE, ...EFFECT_QUEUES];
/** What the recorder reads. */
const READERS = [RECORDER_QUEUE, ...EFFECT_QUEUES.map(deadQueueOf)];

/** The broker, seen from outside of every process under test: writes down each copy that it had, in its order. */
export class BrokerRecorder {
  readonly copies: Copy[] = [];
  readonly deadCopies = new Map<string, Set<string>>(
    EFFECT_QUEUES.map((queue) => [deadQueueOf(queue), new Set()]),
  );
  private connection: ChannelModel | null = null;
  private closed = false;

  private constructor(private readonly url: string) {}

  /** Declares all that the campaign uses, anew, and begins to record. */
  static async open(url: string): Promise<BrokerRecorder> {
    const recorder = new BrokerRecorder(url);
    await recorder.withChannel(async (channel) => {
      await removeTopology(channel);
      await declareTopology(channel);
    });
    await recorder.connect();
    return recorder;
  }

  /** In quiet time the exchange that refuses takes what it has refused; and no longer when traffic begins again. */
  async setRefusing(refusing: boolean): Promise<void> {
    await this.withChannel(async (channel) => {
      if (refusing) await channel.bindQueue(FULL_QUEUE, REFUSING_EXCHANGE, '#');
      for (const queue of TAKERS) {
        if (refusing) await channel.unbindQueue(queue, REFUSING_EXCHANGE, '#');
        else await channel.bindQueue(queue, REFUSING_EXCHANGE, '#');
      }
      if (!refusing) await channel.unbindQueue(FULL_QUEUE, REFUSING_EXCHANGE, '#');
    });
  }

  /** Messages that wait to be delivered, in all queues. The consumers have declared theirs by now. */
  async waiting(): Promise<number> {
    let waiting = 0;
    await this.withChannel(async (channel) => {
      for (const queue of allQueues()) waiting += (await channel.checkQueue(queue)).messageCount;
    });
    return waiting;
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.connection?.close().catch(() => undefined);
    await this.withChannel(removeTopology);
  }

  private async connect(): Promise<void> {
    const connection = await connect(this.url, { heartbeat: 2 });
    this.connection = connection;
    connection.on('error', () => undefined);
    connection.on('close', () => {
      if (!this.closed) void this.reconnect();
    });
    const channel = await connection.createChannel();
    channel.on('error', () => undefined);
    await channel.prefetch(100);
    for (const queue of READERS) {
      await channel.consume(queue, (message) => {
        if (message !== null) this.record(channel, queue, message);
      });
    }
  }

  private async reconnect(): Promise<void> {
    await waitFor(() => this.closed || this.connect().then(() => true), {
      timeoutMs: 120_000,
      intervalMs: RECONNECT_DELAY_MS,
      what: 'the broker to take the recorder back',
    });
  }

  private record(channel: Channel, queue: string, message: ConsumeMessage): void {
    const { id, key } = JSON.parse(message.content.toString()) as CampaignPayload;
    if (queue === RECORDER_QUEUE) this.copies.push({ id, exchange: message.fields.exchange, key });
    else this.deadCopies.get(queue)!.add(id);
    try {
      channel.ack(message);
    } catch {
      // The channel is gone; the copy comes again, and is no longer the first.
    }
  }

  /** On a connection of its own, again and again until the broker is there. */
  private async withChannel(work: (channel: Channel) => Promise<void>): Promise<void> {
    const connection = await waitFor(() => connect(this.url), {
      timeoutMs: 60_000,
      intervalMs: RECONNECT_DELAY_MS,
      what: 'the broker to answer the checker',
    });
    connection.on('error', () => undefined);
    try {
      const channel = await connection.createChannel();
      channel.on('error', () => undefined);
      await work(channel);
    } finally {
      await connection.close().catch(() => undefined);
    }
  }
}

function allQueues(): string[] {
  return [
    RECORDER_QUEUE,
    FULL_QUEUE,
    ...EFFECT_QUEUES.flatMap((queue) => [
      queue,
      deadQueueOf(queue),
      ...RETRY_DELAYS_MS.map((delayMs) => `${queue}.retry.${delayMs}`),
    ]),
  ];
}

async function removeTopology(channel: Channel): Promise<void> {
  for (const queue of allQueues()) await channel.deleteQueue(queue);
  for (const exchange of [MAIN_EXCHANGE, REFUSING_EXCHANGE]) await channel.deleteExchange(exchange);
}

async function declareTopology(channel: Channel): Promise<void> {
  await channel.assertExchange(MAIN_EXCHANGE, 'topic');
  await channel.assertExchange(REFUSING_EXCHANGE, 'topic');
  await channel.assertQueue(FULL_QUEUE, {
    arguments: { 'x-max-length': 0, 'x-overflow': 'reject-publish' },
  });
  await channel.bindQueue(FULL_QUEUE, REFUSING_EXCHANGE, '#');
  await channel.assertQueue(RECORDER_QUEUE);
  for (const queue of EFFECT_QUEUES) {
    await channel.assertQueue(queue, EFFECT_QUEUE_OPTIONS);
    await channel.assertQueue(deadQueueOf(queue), EFFECT_QUEUE_OPTIONS);
  }
  for (const queue of TAKERS) await channel.bindQueue(queue, MAIN_EXCHANGE, '#');
}
