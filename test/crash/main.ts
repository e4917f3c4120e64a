import { parseArgs } from 'node:util';

import { type CampaignResult, runCampaign } from './campaign';
import { openServers, typeOfUrl } from './fleet/servers';
import { planOf } from './plan';
import { reportOf } from './report';
import type { TestDatabaseType } from '../support/shared-servers';

const HELP = `Kills real processes and counts what happened. Everything below zero violations ends with exit code 1.

  --minutes N        so long on each database (default 2)
  --steps N          so many faults on each database, instead of minutes
  --seed N           replays the plan of an earlier run (default: a new one, printed)
  --database NAME    postgres or mysql (default: one after the other)
  --database-url URL your own database; it is used, and not killed. Tables named crash_… are made and dropped
  --rabbitmq-url URL your own broker, likewise; exchanges and queues named outbox-crash.…
`;
const CHECK_EVERY_MS = 40_000;
const SIZE = { producer: 2, relay: 2, consumer: 2 };
const PACE = { pauseMaxMs: 150, writers: 3 };

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string' },
      steps: { type: 'string' },
      seed: { type: 'string' },
      database: { type: 'string' },
      'database-url': { type: 'string' },
      'rabbitmq-url': { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) {
    console.log(HELP);
    return;
  }
  const seed = numberOf('--seed', values.seed) ?? Math.floor(Math.random() * 2 ** 31);
  const steps = numberOf('--steps', values.steps) ?? Infinity;
  const minutes = numberOf('--minutes', values.minutes) ?? (steps === Infinity ? 2 : Infinity);
  const given = { databaseUrl: values['database-url'], rabbitMqUrl: values['rabbitmq-url'] };
  for (const type of typesOf(values.database, given.databaseUrl)) {
    console.log(
      `Seed ${seed} on ${type === 'postgres' ? 'PostgreSQL' : 'MariaDB/MySQL'}; replay with --seed ${seed}`,
    );
    const beganAt = performance.now();
    const servers = await openServers(type, given);
    let result: CampaignResult;
    try {
      const until = performance.now() + minutes * 60_000;
      result = await runCampaign({
        servers,
        seed,
        steps: first(steps, planOf(seed)),
        isOver: () => performance.now() >= until,
        checkEveryMs: CHECK_EVERY_MS,
        pace: PACE,
        size: SIZE,
        breakage: null,
        progress: (progress) =>
          console.log(`${progress.steps} faults, ${progress.messages} messages, ${progress.checks} checks`),
      });
    } finally {
      await servers.stop();
    }
    console.log(`\n${reportOf(`${type}, seed ${seed}`, result, (performance.now() - beganAt) / 1_000)}\n`);
    if (result.violations.length > 0) {
      console.log(
        `${result.violations.length} violations. One of them, as it came about:\n\n${result.history}\n`,
      );
      process.exitCode = 1;
    }
  }
}

function* first<Item>(count: number, items: Iterable<Item>): Generator<Item> {
  let taken = 0;
  for (const item of items) {
    if (taken >= count) return;
    taken += 1;
    yield item;
  }
}

function numberOf(option: string, given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const value = Number(given);
  if (given.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new Error(`${option} is "${given}"; give a number`);
  return value;
}

function typesOf(name: string | undefined, url: string | undefined): TestDatabaseType[] {
  if (url !== undefined) return [typeOfUrl(url)];
  if (name === undefined) return ['postgres', 'mysql'];
  if (name === 'postgres' || name === 'mysql') return [name];
  throw new Error(`--database is "${name}"; give postgres or mysql`);
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
