import { randomUUID } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { OutboxEvents, type OutboxEventMap, type OutboxEventName } from '../../../lib/core/events';
import type { StagedMessage } from '../../../lib/core/message';
import { Relay, type RelayDependencies } from '../../../lib/relay/relay';
import type { RelaySettings } from '../../../lib/relay/relay-settings';
import type { ResendSchedule } from '../../../lib/relay/resend-schedule';
import { OUTBOX_DEFAULTS } from '../../../lib/outbox.options';
import { FakeDatabase } from './fake-database';
import { FakeStore } from './fake-store';
import { FakeTransport } from './fake-transport';
import { ManualClock, settled } from './manual-clock';
import { stagedMessage } from './staged-message';

Logger.overrideLogger(false);

type Sections = { [Section in 'relay' | 'retry' | 'retention']?: Partial<RelaySettings[Section]> };
export type GivenSettings = Sections & Partial<Pick<RelaySettings, 'role' | 'onDeadLetter'>>;

export interface GivenRelay {
  settings?: GivenSettings;
  transports?: Record<string, FakeTransport>;
  /** Shared with other relays. */
  database?: FakeDatabase;
  dependencies?: Partial<RelayDependencies>;
  /** @default true */
  started?: boolean;
}

export function relaySettings(given: GivenSettings = {}): RelaySettings {
  return {
    role: given.role ?? 'full',
    onDeadLetter: given.onDeadLetter ?? 'park',
    relay: { ...OUTBOX_DEFAULTS.relay, ...given.relay },
    // Without variation, so that a test knows the moment.
    retry: { ...OUTBOX_DEFAULTS.retry, jitter: 0, ...given.retry },
    retention: { ...OUTBOX_DEFAULTS.retention, ...given.retention },
  };
}

/** One process: a relay on fakes of its ports, and an application that commits messages. */
export class RelayFixture {
  readonly database: FakeDatabase;
  readonly clock: ManualClock;
  readonly store: FakeStore;
  readonly transport: FakeTransport;
  readonly events: OutboxEvents;
  readonly relay: Relay;
  readonly told: { name: OutboxEventName; event: OutboxEventMap[OutboxEventName] }[] = [];
  private readonly transports: readonly FakeTransport[];
  private readonly byName: ReadonlyMap<string, FakeTransport>;
  private beat: () => void = () => undefined;

  constructor(given: GivenRelay = {}) {
    const settings = relaySettings(given.settings);
    this.database = given.database ?? new FakeDatabase(new ManualClock());
    this.clock = this.database.clock as ManualClock;
    this.store = new FakeStore(this.database, settings.onDeadLetter);
    const transports = given.transports ?? { main: new FakeTransport() };
    this.transports = Object.values(transports);
    this.transport = this.transports[0]!;
    for (const transport of this.transports) this.forbidOpenTransactions(transport);
    this.events = new OutboxEvents();
    this.listen();
    const schedule: ResendSchedule = {
      mayIdle: true,
      start: (beat) => {
        this.beat = beat;
        this.beatLater(settings.relay.intervalMs);
      },
      stop: () => {
        this.beat = () => undefined;
      },
    };
    this.relay = new Relay({
      store: this.store,
      inbox: null,
      alarm: null,
      settings,
      clock: this.clock,
      events: this.events,
      schedule,
      owner: `process-${randomUUID().slice(0, 8)}`,
      outside: (work) => work(),
      isTransactionActive: () => false,
      stagedIn: () => null,
      ...given.dependencies,
    });
    this.byName = new Map(Object.entries(transports));
    if (given.started ?? true) this.start();
  }

  start(): void {
    this.relay.start(this.byName);
  }

  /** Publishes in a transaction of its own, and commits it. @returns the ids. */
  async publish(...messages: Partial<StagedMessage>[]): Promise<string[]> {
    const staged = messages.map((message) => stagedMessage(message));
    const commit = await this.prepare(staged);
    commit();
    await settled();
    return staged.map(({ id }) => id);
  }

  /** Publishes up to the COMMIT. @returns what commits. */
  async prepare(messages: readonly StagedMessage[], isolation: string | null = null): Promise<() => void> {
    const transaction = this.database.begin(isolation);
    const batch = await this.relay.commitListener.write(transaction, messages, isolation);
    return () => {
      transaction.commit();
      this.relay.commitListener.committed(batch);
    };
  }

  /** Committed by a process that is no more, or elsewhere: due in the table, and nobody told us. */
  async insertDue(...messages: Partial<StagedMessage>[]): Promise<string[]> {
    const staged = messages.map((message) => stagedMessage(message));
    const transaction = this.database.begin();
    await this.store.write(transaction, staged, {
      token: 'gone',
      owner: 'gone',
      leaseMs: 0,
      isolation: null,
    });
    transaction.commit();
    return staged.map(({ id }) => id);
  }

  /** How many messages were read ahead and are not written down. */
  aheadInHand(): number {
    const { parts } = this.relay as unknown as { parts: { inHand: { ahead: number } } };
    return parts.inHand.ahead;
  }

  statusOf(id: string): string {
    return this.database.row(id).status;
  }

  namesOf(...names: OutboxEventName[]): OutboxEventName[] {
    return this.told.map(({ name }) => name).filter((name) => names.includes(name));
  }

  eventsOf<Name extends OutboxEventName>(name: Name): OutboxEventMap[Name][] {
    return this.told.filter((told) => told.name === name).map(({ event }) => event as OutboxEventMap[Name]);
  }

  /** How often a statement ran. */
  count(statement: string): number {
    return this.database.statements.filter((name) => name === statement).length;
  }

  /** Ends the process in good order, and sees that nothing was done which must never be done. */
  async stop(): Promise<void> {
    const stopped = this.relay.stop();
    await this.clock.advance(30_000);
    await stopped;
    for (const transport of this.transports) await transport.stop();
    const closed = this.relay.close();
    await this.clock.advance(30_000);
    await closed;
    expect(this.transports.flatMap(({ violations }) => violations)).toEqual([]);
  }

  private listen(): void {
    const names = [
      'message.committed',
      'message.sent',
      'message.retry',
      'message.deadLetter',
      'message.expired',
      'message.lost',
      'write.escaped',
      'transport.down',
      'transport.up',
      'relay.paused',
      'relay.resumed',
      'relay.error',
    ] as const;
    for (const name of names) this.events.on(name, (event) => this.told.push({ name, event }));
  }

  private beatLater(intervalMs: number): void {
    this.clock.after(intervalMs, () => {
      this.beat();
      this.beatLater(intervalMs);
    });
  }

  /** Whatever else a spec is about: nothing is ever sent while a transaction holds its row. */
  private forbidOpenTransactions(transport: FakeTransport): void {
    const { onSend } = transport;
    transport.onSend = (message) => {
      onSend(message);
      if (this.database.isInTransaction(message.id)) {
        transport.violations.push(`${message.id} is sent while a transaction holds its row`);
      }
    };
  }
}
