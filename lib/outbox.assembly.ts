import { type DiscoveryService, type ModuleRef } from '@nestjs/core';
import { SchedulerRegistry } from '@nestjs/schedule';
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { DataSource } from 'typeorm';

import { systemClock } from './core/clock';
import { OutboxConfigurationError } from './core/errors';
import { OutboxEvents } from './core/events';
import type { Transport } from './core/transport.port';
import { DeadLetterAlarm } from './dead-letter/dead-letter-alarm';
import { DeadLetters } from './dead-letter/dead-letters';
import { IdempotencyRuntime } from './idempotency/idempotency-runtime';
import type { ResolvedOutboxOptions } from './outbox.options';
import { jsonCodec } from './outbox/json-codec';
import { MessageFactory } from './outbox/message-factory';
import { Outbox } from './outbox/outbox';
import { Relay } from './relay/relay';
import { RegistrySchedule } from './relay/resend-schedule';
import { createStores, type Stores } from './store/create-stores';
import { TypeOrmTransactions } from './transaction/typeorm-transactions';

/** All parts of one data source's outbox, wired. */
export interface OutboxAssembly {
  readonly dataSource: string;
  readonly options: ResolvedOutboxOptions;
  readonly events: OutboxEvents;
  readonly stores: Stores;
  readonly transactions: TypeOrmTransactions;
  /** By name; filled when the application boots. */
  readonly transports: Map<string, Transport>;
  readonly relay: Relay;
  readonly outbox: Outbox;
  readonly deadLetters: DeadLetters;
  readonly alarm: DeadLetterAlarm;
  readonly idempotency: IdempotencyRuntime;
}

/** Refuses at boot a transport that cannot keep the guarantees with these options. */
export function refuseUnfit(name: string, { capabilities }: Transport, options: ResolvedOutboxOptions): void {
  if (capabilities.confirms === 'none' && !options.acceptLoss) {
    throw new OutboxConfigurationError(
      'transport',
      `${name} cannot confirm what it sends, so messages would be lost unnoticed. Take another, or accept that with acceptLoss: true.`,
    );
  }
  if (capabilities.sendTimeoutMs >= options.relay.leaseMs) {
    throw new OutboxConfigurationError(
      'relay.leaseMs',
      `is ${options.relay.leaseMs} ms, and a send over the transport ${name} may take ${capabilities.sendTimeoutMs} ms: two ` +
        'relays would send the same message. Make the lease longer than the send limit.',
    );
  }
}

/** The one place where ports meet their adapters. Nothing runs yet. */
export function assemble(
  dataSourceName: string,
  options: ResolvedOutboxOptions,
  dataSource: DataSource,
  moduleRef: ModuleRef,
  discovery: DiscoveryService,
): OutboxAssembly {
  const events = new OutboxEvents();
  const stores = createStores({
    dataSource,
    tables: options.tables,
    onDeadLetter: options.onDeadLetter,
    connections: options.relay.connections,
    alarmLeaseMs: options.relay.leaseMs,
    preparedStatements: options.preparedStatements,
    clock: systemClock,
  });
  const transports = new Map<string, Transport>();
  const outside = <T>(work: () => T): T => transactions.outside(work);
  const alarm = new DeadLetterAlarm({
    events,
    store: stores.alarms,
    alarm: options.alarm,
    clock: systemClock,
    leaseMs: options.relay.leaseMs,
    outside,
  });
  const relay: Relay = new Relay({
    store: stores.outbox,
    inbox: stores.inbox,
    alarm,
    settings: options,
    clock: systemClock,
    events,
    schedule: new RegistrySchedule(schedulerRegistry(moduleRef), {
      ...options.relay,
      name: `outbox-resend:${dataSourceName}`,
    }),
    owner: `${hostname()}:${process.pid}:${randomBytes(3).toString('hex')}`,
    outside,
    isTransactionActive: () => transactions.isActive(),
    stagedIn: (messageId) => transactions.stagedIn(messageId),
  });
  const transactions: TypeOrmTransactions = new TypeOrmTransactions({
    dataSource,
    listener: relay.commitListener,
    options,
    clock: systemClock,
    preparesStatements: () => stores.preparesStatements(),
    foreignHosts: transactionHosts(discovery),
  });
  return {
    dataSource: dataSourceName,
    options,
    events,
    stores,
    transactions,
    transports,
    relay,
    outbox: new Outbox(dataSourceName, transactions, events, messageFactory(options)),
    deadLetters: new DeadLetters({
      store: stores.deadLetters,
      outbox: stores.outbox,
      relay,
      events,
      clock: systemClock,
      inboxMs: options.retention.inboxMs,
    }),
    alarm,
    idempotency: new IdempotencyRuntime({
      transactions,
      inbox: stores.inbox,
      events,
      options: options.idempotency,
      clock: systemClock,
    }),
  };
}

function messageFactory(options: ResolvedOutboxOptions): MessageFactory | null {
  if (options.defaultTransport === null) return null;
  return new MessageFactory({
    ...options,
    defaultTransport: options.defaultTransport,
    codec: options.codec ?? jsonCodec,
  });
}

/** The application's own registry, where it imports `ScheduleModule`, so that the job can be found there. */
function schedulerRegistry(moduleRef: ModuleRef): SchedulerRegistry {
  try {
    return moduleRef.get(SchedulerRegistry, { strict: false });
  } catch {
    return new SchedulerRegistry();
  }
}

/** `TransactionHost`s of `@nestjs-cls/transactional`, by name, because that package need not be there. */
function transactionHosts(discovery: DiscoveryService): () => readonly unknown[] {
  let hosts: readonly unknown[] | undefined;
  return () =>
    (hosts ??= discovery
      .getProviders()
      .map(({ instance }) => instance as object | null | undefined)
      .filter((instance) => instance?.constructor?.name === 'TransactionHost'));
}
