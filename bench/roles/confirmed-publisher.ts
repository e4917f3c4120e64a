import { randomUUID } from 'node:crypto';
import { type ConfirmChannel, connect } from 'amqplib';

import { EXCHANGE, MESSAGE_TYPE } from '../harness/names';

/** What a message says of itself besides its id: nothing, or what an outbox says of one without and with a key. */
export type Properties = 'none' | 'ours' | 'ours, keyed';

const ENVELOPE = {
  type: MESSAGE_TYPE,
  appId: 'bench',
  timestamp: Math.floor(Date.now() / 1_000),
  mandatory: true,
};
const PROPERTIES: Readonly<Record<Properties, object>> = {
  none: {},
  ours: { ...ENVELOPE, headers: { 'outbox-slot': '12' } },
  'ours, keyed': { ...ENVELOPE, headers: { 'x-outbox-key': 'key-1', 'outbox-slot': '12' } },
};

/** Publishes persistent messages on a confirm channel, as one does by hand. */
export class ConfirmedPublisher {
  private constructor(
    private readonly channel: ConfirmChannel,
    private readonly properties: object,
    readonly close: () => Promise<void>,
  ) {}

  static async open(url: string, properties: Properties = 'none'): Promise<ConfirmedPublisher> {
    const connection = await connect(url, { noDelay: true });
    const channel = await connection.createConfirmChannel();
    return new ConfirmedPublisher(channel, PROPERTIES[properties], () => connection.close());
  }

  /** @param settled is called when the broker has confirmed it, or refused it */
  send(body: Buffer, settled: (error: Error | null) => void): void {
    const options = {
      persistent: true,
      messageId: randomUUID(),
      contentType: 'application/json',
      ...this.properties,
    };
    this.channel.publish(EXCHANGE, MESSAGE_TYPE, body, options, settled as (error: unknown) => void);
  }

  /** Resolves when the broker has confirmed it. */
  publish(body: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.send(body, (error) => (error === null ? resolve() : reject(error)));
    });
  }
}
