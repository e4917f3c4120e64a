import type { InjectionToken } from '@nestjs/common';

import { DEFAULT_DATA_SOURCE, OUTBOX_PART, outboxToken } from '../core/tokens';
import type { TransportDefinition } from '../core/transport.port';

/** `TestingModuleBuilder` of `@nestjs/testing`, as far as it is used here; the package need not be there. */
export interface ProviderOverrides {
  overrideProvider(token: InjectionToken): { useValue(value: unknown): unknown };
}

export interface WithoutBrokerOptions {
  /** What carries the messages instead: `inProcess()` of `nestjs-outbox/in-process`. */
  readonly transport: TransportDefinition;
  /**
   * Configurations by which modules would connect to a broker; they are overridden with `null`. That of
   * `RabbitMQModule` is `RABBIT_CONFIG_TOKEN`, and without it, it connects to nothing.
   */
  readonly brokerConfigurations?: readonly InjectionToken[];
  /** The data source's name. @default 'default' */
  readonly dataSource?: string;
}

/**
 * Makes a testing module run the application's own handlers with no broker at all:
 *
 * ```ts
 * const builder = Test.createTestingModule({ imports: [AppModule] });
 * withoutBroker(builder, { transport: inProcess(), brokerConfigurations: [RABBIT_CONFIG_TOKEN] });
 * const app = (await builder.compile()).createNestApplication();
 * ```
 */
export function withoutBroker<Builder extends ProviderOverrides>(
  builder: Builder,
  options: WithoutBrokerOptions,
): Builder {
  // By its configuration, because Nest finds a dynamic module to override by its very object alone.
  for (const token of options.brokerConfigurations ?? []) builder.overrideProvider(token).useValue(null);
  const transport = outboxToken(OUTBOX_PART.transportOverride, options.dataSource ?? DEFAULT_DATA_SOURCE);
  builder.overrideProvider(transport).useValue(options.transport);
  return builder;
}
