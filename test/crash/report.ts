import type { CampaignResult } from './campaign';
import { firstCopiesByKey } from './checker/checks';
import { VIOLATION_KINDS } from './checker/facts';
import { EFFECT_QUEUES } from './topology';

/** The figures of one campaign, as a table in Markdown: name and number. */
export function reportOf(title: string, result: CampaignResult, seconds: number): string {
  const { facts } = result;
  const rows: [string, string | number][] = [
    ['duration, s', Math.round(seconds)],
    ['checks of everything', result.checks],
    ...[...result.faults]
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([kind, n]): [string, number] => [kind, n]),
    ['faults that found nothing to happen to', result.passedBy],
    ['processes started', result.starts],
    ['transactions committed', result.transactions.committed],
    ['transactions rolled back', result.transactions['rolled back']],
    ['transactions failed', result.transactions.failed],
    ['messages', facts.business.length],
    ['effects', EFFECT_QUEUES.reduce((sum, queue) => sum + sumOf(facts.effects.get(queue)), 0)],
    ['copies at the broker', facts.copies.length],
    ['dead letters, redriven', result.deadLetters],
    ...keyRows(result),
    ...VIOLATION_KINDS.map((kind): [string, number] => [
      kind,
      result.violations.filter((violation) => violation.kind === kind).length,
    ]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const line = (name: string, value: string | number): string =>
    `| ${name.padEnd(width)} | ${String(value).padStart(9)} |`;
  const head = [line(title, ''), `| ${'-'.repeat(width)} | --------: |`];
  return [...head, ...rows.map(([name, value]) => line(name, value))].join('\n');
}

function sumOf(counts: ReadonlyMap<string, number> | undefined): number {
  return [...(counts?.values() ?? [])].reduce((sum, n) => sum + n, 0);
}

/** How many first copies had a predecessor of their key, so that their order could be wrong. */
function keyRows({ facts }: CampaignResult): [string, number][] {
  const followers = { hot: 0, warm: 0, cold: 0 };
  for (const [scope, ids] of firstCopiesByKey(facts.copies)) {
    const name = scope.split(' ')[2] as keyof typeof followers;
    followers[name] += ids.length - 1;
  }
  return [
    ['in order behind another: one hot key', followers.hot],
    ['in order behind another: 10 keys', followers.warm],
    ['in order behind another: 10,000 keys', followers.cold],
  ];
}
