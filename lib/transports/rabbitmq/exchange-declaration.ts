import type { Logger } from '@nestjs/common';
import type { ChannelModel } from 'amqplib';
import { describeError } from '../../core/errors';
import type { ExchangeDeclaration } from './broker-settings';

/**
 * Declares exchanges, each on a channel of its own, because a refusal closes the channel. A refusal is no reason not to
 * go on: an exchange that is there with other properties can be published to. It is told once by the caller's logger.
 */
export async function declareExchanges(
  model: ChannelModel,
  exchanges: readonly ExchangeDeclaration[],
  logger: Logger,
): Promise<void> {
  for (const exchange of exchanges) {
    const channel = await model.createChannel();
    // amqplib throws an 'error' nobody listens to; the rejection below has the same text.
    channel.on('error', () => undefined);
    try {
      await channel.assertExchange(exchange.name, exchange.type, exchange.options);
    } catch (error) {
      const { code } = error as { code?: number };
      if (code === undefined) throw error;
      logger.warn(
        `Exchange ${exchange.name} was not declared: ${describeError(error)}. Make the declaration equal to what the ` +
          `broker has, or set declareExchange: false.`,
      );
      continue;
    }
    await channel.close();
  }
}
