import {
  type BeforeApplicationShutdown,
  type DynamicModule,
  Inject,
  Module,
  type OnApplicationBootstrap,
  type OnModuleInit,
  type Provider,
  type Type,
} from '@nestjs/common';
import {
  DiscoveryModule,
  DiscoveryService,
  ExternalContextCreator,
  MetadataScanner,
  ModuleRef,
} from '@nestjs/core';
import { getDataSourceToken } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';

import { systemClock } from './core/clock';
import { OutboxEvents } from './core/events';
import { OutboxRelay } from './core/relay-control.port';
import { DEFAULT_DATA_SOURCE, OUTBOX_PART, outboxToken } from './core/tokens';
import type { TransportDefinition } from './core/transport.port';
import { DeadLetters } from './dead-letter/dead-letters';
import {
  type IdempotentHandlers,
  installIdempotentHandlers,
} from './idempotency/rabbitmq/install-idempotent-handlers';
import { assemble, type OutboxAssembly, refuseUnfit } from './outbox.assembly';
import {
  type ASYNC_OPTIONS_TYPE,
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
  type OPTIONS_TYPE,
  OUTBOX_EXTRAS_DEFAULTS,
  type OutboxModuleExtras,
} from './outbox.module-definition';
import type { OutboxModuleOptions, ResolvedOutboxOptions } from './outbox.options';
import { resolveOutboxOptions } from './outbox.options-resolution';
import { Outbox } from './outbox/outbox';

/** The module's own name for its assembly: every import of the module has one of its own behind it. */
const OWN_ASSEMBLY = Symbol('OutboxAssembly of this import');

/**
 * One data source's outbox and inbox. Import it once for each data source, in the root module:
 *
 * ```ts
 * OutboxModule.forRoot({ transport: rabbitMq({ exchange: 'shop' }) })
 * ```
 *
 * Life: everything is wired when providers are made; handlers get their error handlers in `onModuleInit`, before brokers'
 * modules bind them; sending begins in `onApplicationBootstrap`, and ends in `beforeApplicationShutdown`, while the broker's
 * and the database's modules, which close later, are still there.
 */
@Module({})
export class OutboxModule
  extends ConfigurableModuleClass
  implements OnModuleInit, OnApplicationBootstrap, BeforeApplicationShutdown
{
  private handlers: IdempotentHandlers | null = null;

  constructor(
    @Inject(OWN_ASSEMBLY) private readonly assembly: OutboxAssembly,
    private readonly moduleRef: ModuleRef,
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly contexts: ExternalContextCreator,
  ) {
    super();
  }

  static override forRoot(options: typeof OPTIONS_TYPE): DynamicModule {
    return withProviders(super.forRoot(options), options);
  }

  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    return withProviders(super.forRootAsync(options), options);
  }

  async onModuleInit(): Promise<void> {
    const { dataSource, idempotency: runtime, events, options, alarm } = this.assembly;
    alarm.start();
    this.handlers = await installIdempotentHandlers({
      dataSource,
      runtime,
      events,
      alarm,
      options: options.idempotency,
      clock: systemClock,
      discovery: this.discovery,
      scanner: this.scanner,
      contexts: this.contexts,
      resolve: this.resolve,
    });
  }

  async onApplicationBootstrap(): Promise<void> {
    const { options, transports, transactions, relay } = this.assembly;
    if (options.role === 'full' || options.role === 'relay') {
      for (const [name, definition] of Object.entries(options.transports)) {
        const context = {
          name,
          clock: systemClock,
          resolve: this.resolve,
          outside: <T>(work: () => T) => transactions.outside(work),
        };
        const transport = await definition.create(context);
        refuseUnfit(name, transport, options);
        transports.set(name, transport);
      }
      for (const transport of transports.values()) await transactions.outside(() => transport.start());
    }
    try {
      relay.start(transports);
    } catch (error) {
      // Nest does not shut down what it refuses to boot.
      await this.beforeApplicationShutdown();
      throw error;
    }
  }

  async beforeApplicationShutdown(): Promise<void> {
    const { relay, transports } = this.assembly;
    await Promise.all([relay.stop(), this.handlers?.stop()]);
    await Promise.all([...transports.values()].map((transport) => transport.stop()));
    await relay.close();
  }

  private readonly resolve = <Value>(token: unknown): Value | undefined => {
    try {
      return this.moduleRef.get<Value>(token as Type<Value>, { strict: false });
    } catch {
      return undefined;
    }
  };
}

function withProviders(definition: DynamicModule, extras: OutboxModuleExtras): DynamicModule {
  const dataSource = extras.dataSource ?? OUTBOX_EXTRAS_DEFAULTS.dataSource;
  const parts = providersOfParts(dataSource);
  return {
    ...definition,
    global: extras.isGlobal ?? OUTBOX_EXTRAS_DEFAULTS.isGlobal,
    imports: [...(definition.imports ?? []), DiscoveryModule],
    providers: [...(definition.providers ?? []), ...assemblyProviders(dataSource), ...parts],
    exports: parts.map(({ provide }) => provide),
  };
}

function assemblyProviders(dataSource: string): Provider[] {
  const optionsToken = outboxToken(OUTBOX_PART.options, dataSource);
  const overrideToken = outboxToken(OUTBOX_PART.transportOverride, dataSource);
  return [
    { provide: overrideToken, useValue: null },
    {
      provide: optionsToken,
      inject: [MODULE_OPTIONS_TOKEN, overrideToken],
      useFactory: (given: OutboxModuleOptions, override: TransportDefinition | null) => {
        const options = resolveOutboxOptions(given);
        if (override === null) return options;
        const transports = Object.keys(options.transports).map((name) => [name, override] as const);
        return { ...options, transports: Object.fromEntries(transports) };
      },
    },
    {
      provide: OWN_ASSEMBLY,
      inject: [optionsToken, getDataSourceToken(dataSource), ModuleRef, DiscoveryService],
      useFactory: async (
        options: ResolvedOutboxOptions,
        source: DataSource,
        moduleRef: ModuleRef,
        discovery: DiscoveryService,
      ) => {
        const assembly = assemble(dataSource, options, source, moduleRef, discovery);
        await assembly.stores.inbox.verify();
        if (options.role !== 'consumer') await assembly.stores.outbox.verify();
        assembly.transactions.install();
        return assembly;
      },
    },
  ];
}

interface PartProvider {
  readonly provide: string | Type | (abstract new () => unknown);
  readonly inject: [symbol];
  readonly useFactory: (assembly: OutboxAssembly) => unknown;
}

function providersOfParts(dataSource: string): PartProvider[] {
  const parts: [string, PartProvider['provide'] | null, PartProvider['useFactory']][] = [
    [OUTBOX_PART.assembly, null, (assembly) => assembly],
    [OUTBOX_PART.outbox, Outbox, ({ outbox }) => outbox],
    [OUTBOX_PART.relay, OutboxRelay, ({ relay }) => relay],
    [OUTBOX_PART.deadLetters, DeadLetters, ({ deadLetters }) => deadLetters],
    [OUTBOX_PART.events, OutboxEvents, ({ events }) => events],
    [OUTBOX_PART.transactionalEvents, null, ({ outbox }) => outbox.transactionalEvents],
    [OUTBOX_PART.idempotency, null, ({ idempotency }) => idempotency],
  ];
  return parts.flatMap(([part, classToken, useFactory]) => {
    const byName: PartProvider = {
      provide: outboxToken(part, dataSource),
      inject: [OWN_ASSEMBLY],
      useFactory,
    };
    const isDefault = dataSource === DEFAULT_DATA_SOURCE && classToken !== null;
    return isDefault ? [byName, { ...byName, provide: classToken }] : [byName];
  });
}
