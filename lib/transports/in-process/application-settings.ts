import type * as golevelup from '@golevelup/nestjs-rabbitmq';
import type { AmqpConnectionManager, RabbitMQConfig } from '@golevelup/nestjs-rabbitmq';
import { loadPeer } from '../../core/optional-peer';
import type { TransportContext } from '../../core/transport.port';
import { IN_PROCESS_DEFAULTS, type ResolvedInProcessOptions } from './in-process.options';

export type Golevelup = typeof golevelup;

/** The options, together with what RabbitMQModule is configured with, where the application imports it. */
export interface ApplicationSettings {
  readonly options: ResolvedInProcessOptions;
  readonly peer: Golevelup;
  /** Empty without RabbitMQModule. */
  readonly config: Partial<RabbitMQConfig>;
  readonly prefetch: number;
  readonly controllers: boolean;
  readonly deserializer: (content: Buffer, ...rest: never[]) => unknown;
}

export function applicationSettings(
  options: ResolvedInProcessOptions,
  context: TransportContext,
): ApplicationSettings {
  const peer = loadPeer<Golevelup>('@golevelup/nestjs-rabbitmq', 'inProcess()');
  const manager = context.resolve<AmqpConnectionManager>(peer.AmqpConnectionManager);
  const config: Partial<RabbitMQConfig> = manager?.getConnections()[0]?.configuration ?? {};
  return {
    options,
    peer,
    config,
    prefetch: options.prefetch ?? config.prefetchCount ?? IN_PROCESS_DEFAULTS.prefetch,
    controllers: options.controllers ?? config.enableControllerDiscovery ?? true,
    deserializer:
      options.deserializer ??
      (config.deserializer as ApplicationSettings['deserializer'] | undefined) ??
      ((content) => JSON.parse(content.toString()) as unknown),
  };
}
