import type { AmqpConnection, AmqpConnectionManager, RabbitMQConfig } from '@golevelup/nestjs-rabbitmq';
import type * as golevelup from '@golevelup/nestjs-rabbitmq';
import { OutboxConfigurationError } from '../../core/errors';
import { loadPeer } from '../../core/optional-peer';
import type { TransportContext } from '../../core/transport.port';
import { RABBITMQ_DEFAULTS, type ResolvedRabbitMqOptions } from './rabbitmq.options';
import type { ServerAddress } from './redact';

type Golevelup = typeof golevelup;

/** One broker, as amqplib's `connect()` takes it. */
export interface BrokerServer {
  readonly address: ServerAddress;
  readonly socketOptions: Readonly<Record<string, unknown>>;
}

/** An exchange to declare at each connection, or only to look for. */
export interface ExchangeDeclaration {
  readonly name: string;
  readonly type: string;
  readonly options: object | undefined;
}

/** Where the broker is, and what it must have. */
export interface BrokerSettings {
  /** The servers to try, in turn. May reject, when a lookup fails: it is tried again. */
  findServers(): Promise<readonly BrokerServer[]>;
  readonly exchanges: readonly ExchangeDeclaration[];
}

/**
 * The settings of a connection of our own: the addresses given, or those of `@golevelup/nestjs-rabbitmq` in this
 * application. Its connection itself is not used: RabbitMQ blocks a publishing connection under alarm, and that one
 * carries the consumers' acks.
 */
export function brokerSettings(options: ResolvedRabbitMqOptions, context: TransportContext): BrokerSettings {
  const config = moduleConfiguration(options, context);
  const heartbeatSeconds =
    options.heartbeatSeconds ??
    config?.connectionManagerOptions?.heartbeatIntervalInSeconds ??
    RABBITMQ_DEFAULTS.heartbeatSeconds;
  const found = serverSource(options, config);
  return {
    findServers: async () => (await found()).map((server) => withHeartbeat(server, heartbeatSeconds)),
    exchanges: exchangeDeclarations(options, config),
  };
}

/** RabbitMQModule's configuration; where a URI is given, it is about another broker, perhaps. */
function moduleConfiguration(
  options: ResolvedRabbitMqOptions,
  context: TransportContext,
): RabbitMQConfig | undefined {
  if (options.uris !== null) return undefined;
  const peer = loadPeer<Golevelup>('@golevelup/nestjs-rabbitmq', 'rabbitMq() without a uri');
  const connection = findConnection(peer, options.connectionName, context);
  if (connection !== undefined) return connection.configuration;
  throw options.connectionName === undefined
    ? new OutboxConfigurationError(
        'rabbitMq.uri',
        'is not given, and no RabbitMQModule of @golevelup/nestjs-rabbitmq is in this application to take it from. ' +
          'Import RabbitMQModule.forRoot(), or give rabbitMq({ uri }).',
      )
    : new OutboxConfigurationError(
        'rabbitMq.connectionName',
        `is '${options.connectionName}', and RabbitMQModule has no connection of that name in this application.`,
      );
}

function findConnection(
  peer: Golevelup,
  name: string | undefined,
  context: TransportContext,
): AmqpConnection | undefined {
  if (name === undefined) return context.resolve<AmqpConnection>(peer.AmqpConnection);
  const manager = context.resolve<AmqpConnectionManager>(peer.AmqpConnectionManager);
  return manager?.getConnections().find((connection) => connection.configuration.name === name);
}

function serverSource(
  options: ResolvedRabbitMqOptions,
  config: RabbitMQConfig | undefined,
): () => Promise<readonly BrokerServer[]> {
  if (options.uris !== null) {
    const servers = options.uris.map((address) => ({ address, socketOptions: options.socketOptions }));
    return () => Promise.resolve(servers);
  }
  const manager = config?.connectionManagerOptions ?? {};
  const socketOptions = { ...manager.connectionOptions } as Record<string, unknown>;
  const { findServers } = manager;
  const addresses = (): Promise<unknown> =>
    findServers === undefined
      ? Promise.resolve(config?.uri)
      : new Promise((resolve, reject) => {
          // amqp-connection-manager takes a callback or a promise.
          Promise.resolve(findServers(resolve)).then(
            (servers) => servers !== undefined && resolve(servers),
            reject,
          );
        });
  return async () => [await addresses()].flat().map((server) => asServer(server, socketOptions));
}

/** A URI, amqplib's object of its parts, or amqp-connection-manager's object of a URI and its own options. */
function asServer(server: unknown, socketOptions: Readonly<Record<string, unknown>>): BrokerServer {
  if (typeof server === 'object' && server !== null && 'url' in server) {
    const own = (server as { connectionOptions?: Record<string, unknown> }).connectionOptions;
    return { address: server.url as ServerAddress, socketOptions: { ...socketOptions, ...own } };
  }
  return { address: server as ServerAddress, socketOptions };
}

/** Without a heartbeat, a broker that vanished without a word is noticed by time-outs alone. */
function withHeartbeat({ address, socketOptions }: BrokerServer, heartbeatSeconds: number): BrokerServer {
  if (typeof address !== 'string') {
    return { address: { ...address, heartbeat: address.heartbeat ?? heartbeatSeconds }, socketOptions };
  }
  if (/[?&]heartbeat=/.test(address)) return { address, socketOptions };
  return {
    address: `${address}${address.includes('?') ? '&' : '?'}heartbeat=${heartbeatSeconds}`,
    socketOptions,
  };
}

function exchangeDeclarations(
  options: ResolvedRabbitMqOptions,
  config: RabbitMQConfig | undefined,
): readonly ExchangeDeclaration[] {
  if (options.declareExchange === false) return [];
  const configured = (config?.exchanges ?? [])
    .filter((exchange) => exchange.createExchangeIfNotExists !== false)
    .map((exchange) => ({
      name: exchange.name,
      type: exchange.type ?? config?.defaultExchangeType ?? 'topic',
      options: exchange.options,
    }));
  const known = (config?.exchanges ?? []).some((exchange) => exchange.name === options.exchange);
  if (options.declareExchange !== true || known) return configured;
  return [...configured, { name: options.exchange, type: options.exchangeType, options: undefined }];
}
