import { waitFor } from '../../support/wait-for';
import type { Fleet } from '../fleet/fleet';
import type { Servers } from '../fleet/servers';
import type { BrokerRecorder } from './broker';
import { violationsIn } from './checks';
import type { Facts, Violation } from './facts';
import type { JournalReader } from './journal-reader';
import type { Ledger } from './ledger';

/** Quiet time: so long may everything take that the module repairs by itself. */
const QUIET_TIMEOUT_MS = 60_000;
/** After everything has arrived, so long for what should not come: a second effect, a late copy. */
const AFTERMATH_MS = 1_000;
const POLL_MS = 250;

export interface SettlementParts {
  readonly fleet: Fleet;
  readonly servers: Servers;
  readonly ledger: Ledger;
  readonly recorder: BrokerRecorder;
  readonly journals: JournalReader;
  /** A broken build is not waited for so long. @default 60 seconds */
  readonly timeoutMs?: number;
}

/** Brings traffic to rest, and finds out what is wrong then. */
export class Settlement {
  private readonly deadLetters = new Set<string>();
  private timeoutMs: number;

  constructor(private readonly parts: SettlementParts) {
    this.timeoutMs = parts.timeoutMs ?? QUIET_TIMEOUT_MS;
  }

  get deadLetterCount(): number {
    return this.deadLetters.size;
  }

  /** Stops the traffic, lets the fleet repair what was broken, redrives the dead letters, and checks everything. */
  async check(): Promise<{ facts: Facts; violations: Violation[] }> {
    const { fleet, recorder, ledger } = this.parts;
    await fleet.ready();
    await this.ended(() => fleet.halt());
    // Until it either waits for a person or is done.
    await this.until('nothing but dead letters and what waits behind them', async () => {
      const unsent = await ledger.unsent();
      for (const { id, status } of unsent) if (status === 'dead_letter') this.deadLetters.add(id);
      return unsent.every(({ status }) => status === 'dead_letter' || status === 'blocked');
    });
    await recorder.setRefusing(false);
    await this.until('all messages to be sent', async () => {
      const unsent = await ledger.unsent();
      for (const { id, status } of unsent) if (status === 'dead_letter') this.deadLetters.add(id);
      if (unsent.some(({ status }) => status === 'dead_letter')) await this.redrive();
      return unsent.length === 0;
    });
    await this.until('all effects', async () => {
      const problems = violationsIn(await this.facts([]));
      return problems.length === 0 && (await recorder.waiting()) === 0;
    });
    await new Promise((resolve) => setTimeout(resolve, AFTERMATH_MS));
    const facts = await this.facts(await this.heldConnections());
    await recorder.setRefusing(true);
    return { facts, violations: violationsIn(facts) };
  }

  private async facts(leaks: readonly string[]): Promise<Facts> {
    const { ledger, recorder, journals } = this.parts;
    const [business, outbox, effects] = await Promise.all([
      ledger.business(),
      ledger.outbox(),
      ledger.effects(),
    ]);
    journals.read();
    const { copies, deadCopies } = recorder;
    const { commits, alarms } = journals;
    return {
      business,
      outbox,
      effects,
      copies,
      deadCopies,
      commits,
      alarms,
      deadLetters: this.deadLetters,
      leaks,
    };
  }

  /** Connections of the applications' pools that nobody can be using any more. */
  private async heldConnections(): Promise<string[]> {
    const leaks = this.parts.fleet.members.map(async (member) => {
      let held = 0;
      await this.until(
        `${member.name} to give its connections back`,
        async () => {
          held = await member.run<number>({ do: 'connections' });
          return held === 0;
        },
        3_000,
      );
      return held > 0 ? [`${member.name} holds ${held} connections of its pool, and does nothing`] : [];
    });
    return (await Promise.all(leaks)).flat();
  }

  private async redrive(): Promise<void> {
    const [relay] = this.parts.fleet.of('relay');
    await relay?.run({ do: 'redrive' }).catch(() => undefined);
  }

  private async ended(work: () => Promise<void>): Promise<void> {
    await this.until('the traffic to end', () => work().then(() => true));
  }

  /** Goes on when the time is over: what is not there then is what the checks find. */
  private async until(
    what: string,
    condition: () => Promise<boolean>,
    timeoutMs = this.timeoutMs,
  ): Promise<void> {
    const hasCome = await waitFor(condition, { timeoutMs, intervalMs: POLL_MS, what }).then(
      () => true,
      () => false,
    );
    // A broken build has been waited for long enough by then: what comes after this is looked at once.
    if (!hasCome && this.parts.timeoutMs !== undefined) this.timeoutMs = 0;
  }
}
