import { randomUUID } from 'node:crypto';
import { type ConfirmChannel, connect } from 'amqplib';

import { EXCHANGE, MESSAGE_TYPE } from '../harness/names';

/** Publishes persistent messages on a confirm channel, as one does by hand. */
export class ConfirmedPublisher {
  private constructor(
    private readonly channel: ConfirmChannel,
    readonly close: () => Promise<void>,
  ) {}

  static async open(url: string): Promise<ConfirmedPublisher> {
    const connection = await connect(url, { noDelay: true });
    const channel = await connection.createConfirmChannel();
    return new ConfirmedPublisher(channel, () => connection.close());
  }

  /** @param settled is called when the broker has confirmed it, or refused it */
  send(body: Buffer, settled: (error: Error | null) => void): void {
    const options = { persistent: true, messageId: randomUUID(), contentType: 'application/json' };
    this.channel.publish(EXCHANGE, MESSAGE_TYPE, body, options, settled as (error: unknown) => void);
  }

  /** Resolves when the broker has confirmed it. */
  publish(body: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.send(body, (error) => (error === null ? resolve() : reject(error)));
    });
  }
}
