import { randomInt } from 'node:crypto';
import { Logger } from '@nestjs/common';
import fc from 'fast-check';
import { openStores, type StoreFixture } from '../contracts/outbox-store.harness';
import type { TestDatabaseType } from '../support/shared-servers';
import { OPERATOR_STEPS } from './commands/operator';
import { RELAY_STEPS } from './commands/relay';
import { TRANSACTION_STEPS } from './commands/transactions';
import { Model } from './model';
import { quietTime } from './quiet-time';
import { System } from './system';

/** How many sequences of steps, and how long the longest. */
const RUNS = Number(process.env.PROPERTY_RUNS ?? 30);
const STEPS_MAX = 100;
/** After so long no other sequence is tried, so shrinking ends with the best it has: each of its tries is a run. */
const TRYING_MS_MAX = 4_000 * RUNS;

// Without a bias, which would try short sequences more often than long ones.
const STEPS = fc.noBias(
  fc.commands([...TRANSACTION_STEPS, ...RELAY_STEPS, ...OPERATOR_STEPS], {
    maxCommands: STEPS_MAX,
    size: 'max',
  }),
);

/**
 * Any interleaving of transactions, relays and operators leaves the table as the model has it, after every step. A failure
 * prints the fewest steps that show it, and the seed that finds them again.
 */
export function describeStateMachine(type: TestDatabaseType): void {
  describe.each(['park', 'skip'] as const)('where dead letters make their keys %s', (onDeadLetter) => {
    let fixture: StoreFixture;
    beforeAll(async () => {
      Logger.overrideLogger(false);
      fixture = await openStores(type, { onDeadLetter });
    });
    afterAll(() => fixture?.drop());

    it(
      'moves messages as the model says, whatever the order of steps',
      async () => {
        const endsAtMs = performance.now() + TRYING_MS_MAX;
        const property = fc.asyncProperty(STEPS, async (steps) => {
          if (performance.now() > endsAtMs) return;
          const model = new Model(type, onDeadLetter);
          const system = await System.start(fixture, onDeadLetter);
          try {
            await fc.asyncModelRun(() => ({ model, real: system }), steps);
            await quietTime(model, system);
          } finally {
            await system.end();
          }
        });
        const seed = Number(process.env.PROPERTY_SEED ?? randomInt(2 ** 31));
        const details = await fc.check(property, {
          seed,
          numRuns: RUNS,
        });
        if (!details.failed) return;
        const replay = `To see it again: PROPERTY_SEED=${seed} PROPERTY_RUNS=${RUNS} npx jest test/property/*.${type}.spec.ts -t ${onDeadLetter}`;
        throw new Error(`${fc.defaultReportMessage(details)}\n\n${replay}`, { cause: details.errorInstance });
      },
      2 * TRYING_MS_MAX,
    );
  });
}
