import { randomUUID } from 'node:crypto';
import { type ConfirmChannel, connect } from 'amqplib';

import { EXCHANGE, MESSAGE_TYPE } from '../harness/names';

/** What an outbox says of a message besides its id: type, sender, time, and the slot of its key. The broker reads all of it. */
const ENVELOPE = {
  type: MESSAGE_TYPE,
  appId: 'bench',
  timestamp: Math.floor(Date.now() / 1_000),
  headers: { 'outbox-slot': '12' },
  mandatory: true,
};

/** Publishes persistent messages on a confirm channel, as one does by hand. */
export class ConfirmedPublisher {
  private constructor(
    private readonly channel: ConfirmChannel,
    private readonly envelope: object,
    readonly close: () => Promise<void>,
  ) {}

  /** @param enveloped each message says of itself what one of an outbox does */
  static async open(url: string, enveloped = false): Promise<ConfirmedPublisher> {
    const connection = await connect(url, { noDelay: true });
    const channel = await connection.createConfirmChannel();
    return new ConfirmedPublisher(channel, enveloped ? ENVELOPE : {}, () => connection.close());
  }

  /** @param settled is called when the broker has confirmed it, or refused it */
  send(body: Buffer, settled: (error: Error | null) => void): void {
    const options = {
      persistent: true,
      messageId: randomUUID(),
      contentType: 'application/json',
      ...this.envelope,
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
