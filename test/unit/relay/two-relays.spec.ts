import fc from 'fast-check';
import type { SendOutcome } from '../../../lib/core/transport.port';
import { FakeDatabase } from '../support/fake-database';
import { CONFIRMED, FakeTransport, refused, UNREACHABLE } from '../support/fake-transport';
import { ManualClock, settled } from '../support/manual-clock';
import { RelayFixture } from '../support/relay-fixture';
import { stagedMessage } from '../support/staged-message';

/** What happens, in this order; the scheduler decides what overtakes what in between. */
type Step =
  | {
      readonly do: 'publish';
      readonly process: number;
      readonly keys: readonly (string | null)[];
      readonly strict: boolean;
    }
  | { readonly do: 'pass'; readonly ms: number };

const publish: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('publish' as const),
  process: fc.nat({ max: 1 }),
  keys: fc.array(fc.constantFrom('a', 'b', null), { minLength: 1, maxLength: 3 }),
  strict: fc.boolean(),
});

const pass = (msMax: number): fc.Arbitrary<Step> =>
  fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: msMax }) });

const outcomes = fc.array(fc.constantFrom<SendOutcome>(CONFIRMED, CONFIRMED, refused(), UNREACHABLE), {
  maxLength: 8,
});

/** Two processes on one database, where every statement's way there and back, and every confirmation, is a scheduled task. */
class TwoRelays {
  readonly database = new FakeDatabase(new ManualClock());
  readonly sends: string[] = [];
  readonly processes: readonly RelayFixture[];
  private readonly commits: Promise<void>[] = [];
  private quiet = false;

  constructor(
    private readonly scheduler: fc.Scheduler,
    answers: readonly SendOutcome[],
  ) {
    const left = [...answers];
    this.processes = [0, 1].map(() => {
      const transport = new FakeTransport({ concurrencyMax: 3 });
      transport.onSend = ({ id }) => void this.sends.push(id);
      // As the port asks: an outcome within the limit, whatever it is.
      transport.answer = () =>
        Promise.race([
          this.later('confirm', left.shift() ?? CONFIRMED),
          new Promise<SendOutcome>((resolve) => {
            this.clock.after(transport.capabilities.sendTimeoutMs, () => resolve(UNREACHABLE));
          }),
        ]);
      const settings = { relay: { completionSizeMax: 2, claimSizeMax: 2 }, retry: { attemptsMax: 100 } };
      return new RelayFixture({ database: this.database, transports: { main: transport }, settings });
    });
    this.database.before = (statement) => this.later(`${statement} →`, undefined);
    this.database.after = (statement) => this.later(`← ${statement}`, undefined);
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      if (step.do === 'publish') this.commits.push(this.publish(step));
      else await this.clock.advance(step.ms);
      await settled(2);
      if (this.scheduler.count() > 0) await this.scheduler.waitOne();
    }
    for (let turn = 0; turn < 2_000 && !this.isDone; turn += 1) {
      await settled(2);
      if (this.scheduler.count() > 0) await this.scheduler.waitOne();
      else await this.clock.advance(100);
    }
    this.quiet = true;
    while (this.scheduler.count() > 0) await this.scheduler.waitOne();
    await Promise.all(this.commits);
    await Promise.all(this.processes.map((process) => process.stop()));
  }

  /** Every published message was sent; each row became `sent` once; and within a key the first copies went in order. */
  check(): void {
    expect(this.database.rows.map(({ status, completions }) => ({ status, completions }))).toEqual(
      this.database.rows.map(() => ({ status: 'sent', completions: 1 })),
    );
    for (const key of ['a', 'b']) {
      const bySeq = this.database.rows
        .filter(({ message }) => message.key === key)
        .map(({ message }) => message.id);
      expect([...new Set(this.sends)].filter((id) => bySeq.includes(id))).toEqual(bySeq);
    }
  }

  private get isDone(): boolean {
    return (
      this.published === this.database.rows.length &&
      this.database.rows.every(({ status }) => status === 'sent')
    );
  }

  private published = 0;

  private get clock(): ManualClock {
    return this.database.clock as ManualClock;
  }

  private async publish({ process, keys, strict }: Extract<Step, { do: 'publish' }>): Promise<void> {
    this.published += keys.length;
    const messages = keys.map((key) => stagedMessage({ key }));
    const commit = await this.processes[process]!.prepare(messages, strict ? 'SERIALIZABLE' : null);
    await this.later('COMMIT', undefined);
    commit();
  }

  private later<T>(label: string, value: T): Promise<T> {
    return this.quiet ? Promise.resolve(value) : this.scheduler.schedule(Promise.resolve(value), label);
  }
}

describe('two relays on one database', () => {
  it('in steady state: send every message once, whatever overtakes what', async () => {
    const steps = fc.array(publish, { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), steps, async (scheduler, given) => {
        const relays = new TwoRelays(scheduler, []);
        await relays.run(given);
        relays.check();
        expect(new Set(relays.sends).size).toBe(relays.sends.length);
      }),
      { numRuns: 80 },
    );
  });

  it('with refusals and outages, while leases run out: lose nothing, and keep the order within each key', async () => {
    const steps = fc.array(
      fc.oneof({ weight: 3, arbitrary: publish }, { weight: 1, arbitrary: pass(45_000) }),
      {
        minLength: 1,
        maxLength: 10,
      },
    );
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), steps, outcomes, async (scheduler, given, answers) => {
        const relays = new TwoRelays(scheduler, answers);
        await relays.run(given);
        relays.check();
      }),
      { numRuns: 80 },
    );
  });
});
