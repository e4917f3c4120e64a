import { Logger } from '@nestjs/common';
import { RelayError } from '../core/errors';
import type { Explanation } from '../core/explanation';
import type { OutboxStats, RelayControl } from '../core/relay-control.port';
import type { CommitListener } from '../core/transactions.port';
import type { Transport } from '../core/transport.port';
import { CommitPipeline } from './commit-pipeline';
import { explain } from './explain';
import { flush } from './flush';
import type { Lane } from './lane';
import { type RelayDependencies, RelayParts } from './relay-parts';
import { within } from './within';

export type { RelayDependencies } from './relay-parts';

const FLUSH_TIMEOUT_MS = 30_000;
/** After the drain, so long for writing down what it brought. */
const LAST_WRITES_TIMEOUT_MS = 2_000;

/**
 * Sends committed messages, and sees to all that belongs to it, in one process.
 *
 * Order at shutdown, and why: `stop()` first of all, while broker and database are still there (no more claims; what is
 * committed from now on is born due; what is in flight ends; the rest goes back). Then its owner stops the transports,
 * which settles what they still had. Then `close()` writes down the last of it and closes the store.
 */
export class Relay implements RelayControl {
  /** What the transactions tell of their commits. */
  readonly commitListener: CommitListener;
  private readonly logger = new Logger('OutboxRelay');
  private readonly parts: RelayParts;
  /** Paused before the start, when there were no transports yet; null stands for all. */
  private readonly pausedEarly = new Set<string | null>();
  private started = false;
  /** The shutdown's limit, by the monotonic clock. */
  private stopsByMs = 0;
  private stopped: Promise<void> | null = null;
  private closed: Promise<void> | null = null;

  constructor(private readonly given: RelayDependencies) {
    const parts = new RelayParts(given);
    this.parts = parts;
    const { relay, role } = given.settings;
    this.commitListener = new CommitPipeline({
      store: given.store,
      clock: given.clock,
      events: given.events,
      owner: given.owner,
      leaseMs: relay.leaseMs,
      sendsNow: (transport) => role === 'full' && relay.fastPath && parts.sendsNow(transport),
      hand: (messages) => parts.dispatcher.hand(messages),
      blocked: ({ keyHash, transport }) => {
        if (keyHash !== null) parts.promoter.wish(keyHash, transport, null);
      },
      bornDue: parts.bornDue,
      dueIn: (delayMs) => parts.resendJob.wakeIn(delayMs),
      outside: given.outside,
    });
  }

  /**
   * Begins to send. The store is verified; until now, rows were born due.
   * @param transports by name. Their owner has started them, and stops them after `stop()`.
   * @throws OutboxConfigurationError for settings that do not fit; nothing has begun then.
   */
  start(transports: ReadonlyMap<string, Transport>): void {
    if (this.started || this.stopped !== null) return;
    this.started = true;
    this.given.outside(() => this.begin(transports));
  }

  /** Ends sending, within the shutdown's limit. May be called twice. Never rejects. */
  stop(): Promise<void> {
    this.stopped ??= this.given.outside(() => this.drain());
    return this.stopped;
  }

  /** Writes down what the transports settled while they stopped, and closes the store. May be called twice. */
  close(): Promise<void> {
    this.closed ??= this.given.outside(() => this.closeStore());
    return this.closed;
  }

  async flush(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    if (this.given.isTransactionActive()) {
      throw new RelayError(
        'flush() inside a transaction would wait for messages that are sent after its commit. Call it after the commit, ' +
          'or with outbox.outside(() => relay.flush()) where only earlier messages are meant.',
      );
    }
    if (!this.parts.state.accepts) {
      throw new RelayError(
        this.parts.state.sends
          ? 'flush() needs a running relay, and this one is not started yet, or is shutting down.'
          : "flush() needs a process that sends, and this one's role only publishes. Call it where the role is 'full' or 'relay'.",
      );
    }
    const timeoutMs = options.timeoutMs ?? FLUSH_TIMEOUT_MS;
    await this.given.outside(() =>
      flush({ ...this.parts, store: this.given.store, clock: this.given.clock }, timeoutMs),
    );
  }

  pause(transport?: string): void {
    if (this.started) for (const lane of this.lanesOf(transport)) this.given.outside(() => lane.gate.pause());
    else this.pausedEarly.add(transport ?? null);
    this.given.events.emit('relay.paused', { transport: transport ?? null });
  }

  resume(transport?: string): void {
    if (this.started)
      for (const lane of this.lanesOf(transport)) this.given.outside(() => lane.gate.resume());
    else if (transport === undefined) this.pausedEarly.clear();
    else this.pausedEarly.delete(transport);
    this.given.events.emit('relay.resumed', { transport: transport ?? null });
  }

  async stats(): Promise<OutboxStats> {
    const stored = await this.given.outside(() => this.given.store.stats());
    const paused: Record<string, 'paused' | 'unreachable'> = {};
    for (const { name, gate } of this.parts.lanes) if (gate.reason !== null) paused[name] = gate.reason;
    return { ...stored, inFlight: this.parts.inHand.size, paused };
  }

  async explain(messageId: string): Promise<Explanation> {
    const id = messageId.toLowerCase();
    const { owner, settings, store, outside, stagedIn } = this.given;
    // Before the look at the table: what commits in between is found there.
    const view = { owner, claimsMax: settings.retry.claimsMax, stagedIn: stagedIn(id) };
    const situation = await outside(() => store.inspect(id));
    return explain(id, situation, { ...view, transportState: this.parts.transportState });
  }

  wake(): void {
    this.given.outside(() => this.parts.bornDue());
  }

  private begin(transports: ReadonlyMap<string, Transport>): void {
    const { lanes, resendJob, sweeper, alarms, cleaner, wakeUp, state } = this.parts;
    if (state.sends) {
      // These refuse settings that do not fit, and nothing has begun by then.
      this.parts.open(transports);
      const { schedule } = this.given;
      schedule.start(() => (schedule.mayIdle ? resendJob.tick() : resendJob.wake()));
    }
    // Every process looks after its own inbox, whether it sends or not.
    cleaner.start();
    if (!state.sends) return;
    for (const { name, gate } of lanes) {
      gate.watch();
      if (this.pausedEarly.has(name) || this.pausedEarly.has(null)) gate.pause();
    }
    state.accepts = true;
    resendJob.start();
    sweeper.start();
    if (this.given.alarm !== null) alarms.start();
    wakeUp.listen(() => resendJob.wake());
  }

  private lanesOf(transport: string | undefined): readonly Lane[] {
    if (transport === undefined) return this.parts.lanes;
    const lanes = this.parts.lanes.filter(({ name }) => name === transport);
    if (lanes.length > 0) return lanes;
    const known = this.parts.lanes.map(({ name }) => name).join(', ') || 'none';
    throw new RelayError(`This process sends with no transport named '${transport}'. Known here: ${known}.`);
  }

  private async drain(): Promise<void> {
    const { state, resendJob, sweeper, alarms, cleaner, wakeUp, inHand, dispatcher, sender, keeper, lanes } =
      this.parts;
    const { clock, schedule, settings } = this.given;
    state.accepts = false;
    this.stopsByMs = clock.monotonicMs() + settings.relay.shutdownTimeoutMs;
    schedule.stop();
    // Takes no more; what is ringing is waited for in close().
    void alarms.stop();
    const jobs = Promise.all([resendJob.stop(), sweeper.stop(), cleaner.stop()]);
    const drained = await within(
      clock,
      settings.relay.shutdownTimeoutMs,
      jobs.then(() => inHand.whenEmpty()),
    );
    if (!drained) {
      this.logger.warn(
        `${inHand.size} messages are not through after ${settings.relay.shutdownTimeoutMs} ms of shutdown; their leases go ` +
          'back, and another relay, or the next start, sends them',
      );
    }
    dispatcher.close();
    sender.close();
    await this.lastWrites();
    keeper.close();
    for (const lane of lanes) lane.gate.close();
    await within(clock, LAST_WRITES_TIMEOUT_MS, wakeUp.close());
  }

  private async closeStore(): Promise<void> {
    await this.stop();
    await this.lastWrites();
    const { completions, failures, releases, promoter } = this.parts;
    for (const batcher of [completions, failures, releases, promoter]) batcher.close();
    await this.lastAlarms();
    await this.given.store.close();
  }

  /** What was written down last may have been a dead letter. */
  private async lastAlarms(): Promise<void> {
    const { alarm, clock } = this.given;
    if (alarm === null) return;
    const timeoutMs = Math.max(this.stopsByMs - clock.monotonicMs(), LAST_WRITES_TIMEOUT_MS);
    const ended = this.parts.alarms.stop().then(() => alarm.stop());
    if (!(await within(clock, timeoutMs, ended))) {
      this.logger.warn(
        'Alarms still ring at the end of the shutdown; those of the outbox ring again, at another relay or the next start',
      );
    }
  }

  private async lastWrites(): Promise<void> {
    const { completions, failures, releases, promoter } = this.parts;
    const writes = async (): Promise<void> => {
      await Promise.all([completions.flush(), failures.flush(), releases.flush()]);
      await promoter.whenSeenTo();
    };
    if (!(await within(this.given.clock, LAST_WRITES_TIMEOUT_MS, writes()))) {
      this.logger.warn(
        'The database does not answer: what was sent last is not written down, and is sent once more',
      );
    }
  }
}
