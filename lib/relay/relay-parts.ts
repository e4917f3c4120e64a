import { randomUUID } from 'node:crypto';
import { Logger } from '@nestjs/common';
import type { Alarm } from '../core/alarm.port';
import type { Clock } from '../core/clock';
import type { OutboxEvents } from '../core/events';
import type { TransportState } from '../core/explanation';
import type { ClaimedMessage } from '../core/message';
import type { InboxStore } from '../core/inbox-store.port';
import type { ClaimTerms, OutboxStore } from '../core/outbox-store.port';
import type { Transport } from '../core/transport.port';
import { AfterCommitDispatcher } from './after-commit-dispatcher';
import { BackgroundHealth } from './background-health';
import { Cleaner } from './cleaner';
import { CompletionBatcher, type CompletionSettings } from './completion-batcher';
import { FailureBatcher } from './failure-batcher';
import { type HeldMessage, isFollower } from './held-message';
import { InHand } from './in-hand';
import { KeyPromoter } from './key-promoter';
import { Lane } from './lane';
import { LeaseKeeper } from './lease-keeper';
import { PeriodicTask } from './periodic-task';
import type { RelaySettings } from './relay-settings';
import { ReleaseBatcher } from './release-batcher';
import { ResendJob } from './resend-job';
import type { ResendSchedule } from './resend-schedule';
import { SendWindow } from './send-window';
import { Sender } from './sender';
import { Sweeper } from './sweeper';
import { TransportGate } from './transport-gate';
import { WakeUp } from './wake-up';

/** Claims to give back, and keys to look at, that may wait in memory for the database. */
const WAITING_MAX = 10_000;

export interface RelayDependencies {
  readonly store: OutboxStore;
  /** Where the application has one, its old entries are deleted along. */
  readonly inbox: Pick<InboxStore, 'purge'> | null;
  /** Rings where a process died before it could. null: nobody does. */
  readonly alarm: Pick<Alarm, 'ringDue' | 'stop'> | null;
  readonly settings: RelaySettings;
  readonly clock: Clock;
  readonly events: OutboxEvents;
  readonly schedule: ResendSchedule;
  /** Names this process in the table, for people to read. */
  readonly owner: string;
  /** Runs work outside of any ambient transaction. */
  readonly outside: <T>(work: () => T) => T;
  /** Whether an ambient transaction is open where the caller is. */
  readonly isTransactionActive: () => boolean;
  /** The open transaction of this process in which a message is staged; null: in none. */
  readonly stagedIn: (messageId: string) => string | null;
  /** For the variation of back-offs. @default Math.random */
  readonly random?: () => number;
}

/** Whether this process sends at all, and whether it does now. */
export interface RelayState {
  readonly sends: boolean;
  /** Claims, and takes committed messages into memory. */
  accepts: boolean;
}

/** The relay's parts, put together: who tells whom what. */
export class RelayParts {
  readonly health: BackgroundHealth;
  readonly state: RelayState;
  readonly inHand = new InHand();
  /** Filled when the relay starts: transports are made after everything else. */
  readonly lanes: Lane[] = [];
  private readonly lanesByName = new Map<string, Lane>();
  readonly window: SendWindow;
  readonly completions: CompletionBatcher;
  readonly failures: FailureBatcher;
  readonly releases: ReleaseBatcher;
  readonly promoter: KeyPromoter;
  readonly keeper: LeaseKeeper;
  readonly sender: Sender;
  readonly dispatcher: AfterCommitDispatcher;
  readonly resendJob: ResendJob;
  readonly sweeper: Sweeper;
  /** Not a part of the sweeper's work, which must not wait for an application's callbacks. */
  readonly alarms: PeriodicTask;
  readonly cleaner: Cleaner;
  readonly wakeUp: WakeUp;

  constructor(private readonly given: RelayDependencies) {
    const { store, settings, clock, events } = given;
    const { relay, retry, role } = settings;
    const health = new BackgroundHealth(events, new Logger('OutboxRelay'));
    this.health = health;
    this.state = { sends: role === 'full' || role === 'relay', accepts: false };

    const { lanesByName } = this;
    this.window = new SendWindow(relay, this.lanes);

    const { completionSizeMax, completionDelayMs } = relay;
    const sent: CompletionSettings = {
      completionSizeMax,
      completionDelayMs,
      written: this.sent,
      sendsNow: this.sendsNow,
      terms: this.terms,
      runs: {
        readsOn: (message) => this.sender.runs.readsOn(message),
        readAhead: (messages) => this.sender.runs.readAhead(messages),
        goFurther: (further) => this.sender.runs.goFurther(further),
      },
      hand: (messages: readonly ClaimedMessage[], ahead: readonly ClaimedMessage[]) =>
        this.dispatcher.hand(messages, true, ahead),
      bornDue: this.bornDue,
    };
    this.completions = new CompletionBatcher(sent, store, events, clock, health);
    const refused = { retry, written: this.refused, random: given.random ?? Math.random };
    this.failures = new FailureBatcher(refused, store, events, clock, health);
    this.releases = new ReleaseBatcher(
      { waitingMax: WAITING_MAX, written: this.givenBack },
      store,
      clock,
      health,
    );

    this.promoter = new KeyPromoter({
      store,
      inHand: this.inHand,
      clock,
      health,
      waitingMax: WAITING_MAX,
      gatherMs: relay.notifyDelayMs,
      sendsNow: this.sendsNow,
      terms: this.terms,
      hand: (message, chained) => this.dispatcher.hand([message], chained),
      bornDue: this.bornDue,
    });
    this.sender = new Sender({
      lanes: lanesByName,
      window: this.window,
      inHand: this.inHand,
      completions: this.completions,
      failures: this.failures,
      releases: this.releases,
      clock,
      aheadMax: relay.inFlightMax,
      sendsNow: this.sendsNow,
      probeIntervalMs: relay.probeIntervalMs,
      watchLeases: () => this.keeper.watch(),
      freed: this.freed,
    });
    this.dispatcher = new AfterCommitDispatcher({
      lanes: lanesByName,
      sender: this.sender,
      window: this.window,
      releases: this.releases,
      queueSizeMax: relay.queueSizeMax,
    });
    this.keeper = new LeaseKeeper(
      {
        leaseMs: relay.leaseMs,
        lanes: this.lanes,
        overdue: (lane, flight) => this.sender.overdue(lane, flight),
        tidyQueue: (lane) => this.dispatcher.tidy(lane),
        busy: () => this.inHand.size > 0,
      },
      store,
      clock,
      health,
    );
    this.resendJob = new ResendJob(
      {
        store,
        lanes: this.lanes,
        window: this.window,
        clock,
        health,
        terms: this.terms,
        send: (messages) => this.sender.send(this.sender.take(messages, 'resend')),
        freed: () => this.dispatcher.schedule(),
      },
      { ...relay, wakeSpacingMs: relay.notifyDelayMs },
    );
    const sweeping = {
      sweepIntervalMs: relay.sweepIntervalMs,
      claimsMax: retry.claimsMax,
      bornDue: this.bornDue,
    };
    this.sweeper = new Sweeper(sweeping, store, events, clock, health);
    this.alarms = new PeriodicTask(
      {
        task: 'Ringing alarms that nobody has heard',
        // They are due a lease after their dead letter: to look often would find none sooner.
        intervalMs: Math.max(relay.sweepIntervalMs, relay.leaseMs / 3),
        atOnce: true,
        run: async (stopping) => given.alarm?.ringDue(stopping),
      },
      clock,
      health,
    );
    this.cleaner = new Cleaner(
      settings.retention,
      { outbox: this.state.sends ? store : null, inbox: given.inbox },
      clock,
      health,
      () => this.sweeper.runSoon(),
    );
    const waking = { notifyDelayMs: relay.notifyDelayMs, listen: relay.listen && this.state.sends };
    this.wakeUp = new WakeUp(waking, store, clock, health);
  }

  /** Whether a message of that transport is sent from this process's memory, if it comes into its hands now. */
  readonly sendsNow = (transport: string): boolean =>
    this.state.accepts && this.dispatcher.accepts(transport);

  /** What this process can do for messages of that transport now. */
  readonly transportState = (name: string): TransportState => {
    if (!this.state.accepts) return 'idle';
    const lane = this.lanesByName.get(name);
    return lane === undefined ? 'unknown' : (lane.gate.reason ?? 'open');
  };

  /** Rows are due, and nobody holds them. */
  readonly bornDue = (): void => {
    if (this.state.accepts && this.lanes.some((lane) => lane.gate.isOpen)) this.resendJob.wake();
    else this.wakeUp.notify();
  };

  /** A fresh token for each claim: what an earlier claim of this process left behind is fenced off like anybody else's. */
  private readonly terms = (): ClaimTerms => ({
    token: randomUUID(),
    owner: this.given.owner,
    leaseMs: this.given.settings.relay.leaseMs,
    claimsMax: this.given.settings.retry.claimsMax,
  });

  private readonly freed = (): void => {
    this.dispatcher.schedule();
    this.resendJob.roomChanged();
  };

  private readonly sent = (messages: readonly HeldMessage[], through: ReadonlySet<bigint>): void => {
    this.window.unwritten -= messages.length;
    for (const held of messages) {
      const { keyHash, transport } = held.message;
      this.sender.runs.written(held);
      // Those in a run are not in hand by themselves; and when they are written down, its head still holds the key.
      if (isFollower(held)) continue;
      if (keyHash === null || through.has(keyHash)) this.inHand.done(held);
      else this.promoter.wish(keyHash, transport, held);
    }
    this.freed();
  };

  private readonly refused = (
    held: HeldMessage,
    outcome: { retryInMs: number | null } | 'not-moved',
  ): void => {
    this.window.unwritten -= 1;
    const { keyHash, transport } = held.message;
    const skipped =
      outcome !== 'not-moved' && outcome.retryInMs === null && this.given.settings.onDeadLetter === 'skip';
    if (skipped && keyHash !== null) this.promoter.wish(keyHash, transport, held);
    else this.inHand.done(held);
    if (outcome !== 'not-moved' && outcome.retryInMs !== null) this.resendJob.wakeIn(outcome.retryInMs);
    this.freed();
  };

  private readonly givenBack = (messages: readonly HeldMessage[]): void => {
    for (const held of messages) this.inHand.done(held);
    this.bornDue();
  };

  /** Opens a lane for each transport, in a process that sends. */
  open(transports: ReadonlyMap<string, Transport>): void {
    if (!this.state.sends) return;
    for (const [name, transport] of transports) {
      const lane = this.lane(name, transport);
      this.lanesByName.set(name, lane);
      this.lanes.push(lane);
    }
  }

  private lane(name: string, transport: Transport): Lane {
    const { probeIntervalMs, leaseMs } = this.given.settings.relay;
    const onChange = (open: boolean): void => this.gateChanged(lane, open);
    const gate = new TransportGate(
      { name, transport, probeIntervalMs, onChange },
      this.given.clock,
      this.given.events,
    );
    const lane: Lane = new Lane(name, transport, gate, leaseMs);
    return lane;
  }

  private gateChanged(lane: Lane, open: boolean): void {
    if (open) this.resendJob.wake();
    else this.dispatcher.empty(lane);
    this.freed();
  }
}
