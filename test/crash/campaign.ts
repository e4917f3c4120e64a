import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { waitFor } from '../support/wait-for';
import { BrokerRecorder } from './checker/broker';
import type { Facts, Violation } from './checker/facts';
import { shortestHistory } from './checker/history';
import { JournalReader } from './checker/journal-reader';
import { Ledger } from './checker/ledger';
import { Settlement } from './checker/settlement';
import { Journal } from './child/journal';
import { Faults } from './faults';
import { Fleet, type FleetSize } from './fleet/fleet';
import type { Pace } from './fleet/member';
import type { Servers } from './fleet/servers';
import { nameOf, type Step } from './plan';
import type { Breakage } from './protocol';

/** Every process renews, waits and times out by this. */
const LEASE_MS = 3_000;
const FAULTS_AT_A_TIME = 3;
const SESSIONS_TIMEOUT_MS = 15_000;

export interface CampaignSettings {
  readonly servers: Servers;
  readonly seed: number;
  /** What is done, in order. It ends when they do, or when `isOver` says so. */
  readonly steps: Iterable<Step>;
  readonly isOver: () => boolean;
  /** Traffic rests, and everything is checked, after so many milliseconds each time; and at the end. */
  readonly checkEveryMs: number;
  readonly pace: Pace;
  readonly size: FleetSize;
  readonly breakage: Breakage | null;
  /** See Settlement. */
  readonly quietTimeoutMs?: number;
  readonly progress: (progress: Progress) => void;
}

export interface Progress {
  readonly steps: number;
  readonly checks: number;
  readonly messages: number;
}

export interface CampaignResult {
  /** By what was done. */
  readonly faults: ReadonlyMap<string, number>;
  /** Faults that found nothing to happen to. */
  readonly passedBy: number;
  readonly starts: number;
  readonly checks: number;
  readonly transactions: JournalReader['transactions'];
  readonly deadLetters: number;
  readonly facts: Facts;
  readonly violations: readonly Violation[];
  /** Of one violation; empty when there is none. */
  readonly history: string;
}

/** Traffic and faults, then rest and a look at everything; again and again. Ends at the first violation. */
export async function runCampaign(settings: CampaignSettings): Promise<CampaignResult> {
  const { servers, seed, pace, size, breakage } = settings;
  const directory = await mkdtemp(join(tmpdir(), 'nestjs-outbox-crash-'));
  const path = join(directory, 'journal');
  const ledger = await Ledger.open(servers.database.type, servers.database.url);
  const recorder = await BrokerRecorder.open(servers.broker.url);
  let fleet: Fleet | null = null;
  try {
    fleet = await Fleet.start({ servers, journal: path, leaseMs: LEASE_MS, pace, seed, size, breakage });
    await servers.syncTopology();
    const journals = new JournalReader(path);
    const timeoutMs = settings.quietTimeoutMs;
    const settlement = new Settlement({
      ...{ fleet, servers, ledger, recorder, journals },
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    const run = new Run(settings, fleet, settlement, journals, new Journal(path, 'campaign'));
    const result = await run.toTheEnd();
    const leaks = await leftBehind(fleet, ledger);
    fleet = null;
    return { ...result, ...concluded(result, leaks, journals) };
  } finally {
    await fleet?.kill();
    await recorder.close();
    await ledger.close();
    await rm(directory, { recursive: true, force: true });
  }
}

type Findings = Omit<CampaignResult, 'history'>;

class Run {
  private readonly faults: Faults;
  private readonly counts = new Map<string, number>();
  private passedBy = 0;
  private steps = 0;
  private checks = 0;

  constructor(
    private readonly settings: CampaignSettings,
    private readonly fleet: Fleet,
    private readonly settlement: Settlement,
    private readonly journals: JournalReader,
    private readonly journal: Journal,
  ) {
    this.faults = new Faults(fleet, settings.servers, LEASE_MS);
  }

  async toTheEnd(): Promise<Findings> {
    const steps = this.settings.steps[Symbol.iterator]();
    for (;;) {
      const more = await this.trafficAndFaults(steps);
      const { facts, violations } = await this.settlement.check();
      this.checks += 1;
      this.settings.progress({ steps: this.steps, checks: this.checks, messages: facts.business.length });
      if (!more || violations.length > 0) return this.findings(facts, violations);
      this.journals.putAside();
    }
  }

  /** @returns whether there is more to come. */
  private async trafficAndFaults(steps: Iterator<Step>): Promise<boolean> {
    const restAt = performance.now() + this.settings.checkEveryMs;
    const under = new Set<Promise<void>>();
    this.fleet.produce();
    let more = true;
    while (more && performance.now() < restAt) {
      const { value, done } = steps.next() as IteratorResult<Step, undefined>;
      if (done === true || this.settings.isOver()) {
        more = false;
        break;
      }
      const fault = this.inject(value);
      under.add(fault);
      void fault.finally(() => under.delete(fault));
      await delay(value.pauseMs);
      if (under.size >= FAULTS_AT_A_TIME) await Promise.race(under);
    }
    await Promise.all(under);
    return more;
  }

  private async inject({ fault }: Step): Promise<void> {
    this.steps += 1;
    this.journal.write({ did: 'fault', text: JSON.stringify(fault) });
    const outcome = await this.faults.inject(fault);
    if (outcome === 'passed by') this.passedBy += 1;
    else this.counts.set(nameOf(fault), (this.counts.get(nameOf(fault)) ?? 0) + 1);
  }

  private findings(facts: Facts, violations: readonly Violation[]): Findings {
    return {
      faults: this.counts,
      passedBy: this.passedBy,
      starts: this.fleet.members.reduce((sum, { starts }) => sum + starts, 0),
      checks: this.checks,
      transactions: this.journals.transactions,
      deadLetters: this.settlement.deadLetterCount,
      facts,
      violations,
    };
  }
}

/** Closes the fleet in order, and sees what stays open. */
async function leftBehind(fleet: Fleet, ledger: Ledger): Promise<string[]> {
  const leaks = await fleet.close();
  let sessions = 0;
  await waitFor(async () => (sessions = await ledger.otherSessions()) === 0, {
    timeoutMs: SESSIONS_TIMEOUT_MS,
    intervalMs: 200,
  }).catch(() =>
    leaks.push(`${sessions} sessions are still open in the database, and every process has ended`),
  );
  return leaks;
}

function concluded(
  { violations }: Findings,
  leaks: readonly string[],
  journals: JournalReader,
): Pick<CampaignResult, 'violations' | 'history'> {
  const all = [
    ...violations,
    ...leaks.map((what) => ({ kind: 'leaked connections' as const, what, ids: [] })),
  ];
  return { violations: all, history: all.length === 0 ? '' : shortestHistory(all, journals.history()) };
}
