import { connect } from 'amqplib';

import { ShopError } from '../shop.error';

const QUEUES = ['carts.order-placed', 'payments.order-placed', 'payments.order-paid'];

/** Another shop on the same broker would take our messages, and we would take its: neither would add up. */
export async function requireOwnBroker(url: string): Promise<void> {
  const connection = await connect(url).catch((error: Error) => {
    throw new ShopError(
      `no broker answers at RABBITMQ_URL (${error.message}); start it, or unset RABBITMQ_URL`,
    );
  });
  try {
    for (const queue of QUEUES) {
      const channel = await connection.createChannel();
      // A queue that is not there yet is as good as an empty one; the broker closes the channel over it.
      channel.on('error', () => undefined);
      const state = await channel.checkQueue(queue).catch(() => undefined);
      if (state && state.consumerCount + state.messageCount > 0) {
        throw new ShopError(
          `another shop uses the broker of RABBITMQ_URL; stop it, or give the demo a virtual host of its own`,
        );
      }
    }
  } finally {
    await connection.close();
  }
}
