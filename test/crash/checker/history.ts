import type { JournalLine } from '../protocol';
import type { Violation } from './facts';

const LINES_MAX = 200;

/** What happened to the messages of one violation, and to the processes around them: the one that is told the quickest. */
export function shortestHistory(violations: readonly Violation[], lines: readonly JournalLine[]): string {
  const told = violations.map((violation) => ({ violation, lines: linesAbout(violation, lines) }));
  const { violation, lines: shortest } = told.reduce((a, b) => (b.lines.length < a.lines.length ? b : a));
  const from = BigInt(shortest[0]?.at ?? 0);
  const rows = shortest.map(({ at, by, did, ...rest }) => {
    const ms = String((BigInt(at) - from) / 1_000_000n).padStart(8);
    return `${ms} ms  ${by.padEnd(16)} ${did} ${detail(rest, violation.ids)}`;
  });
  return [`${violation.kind}: ${violation.what}`, ...rows].join('\n');
}

function linesAbout({ ids }: Violation, lines: readonly JournalLine[]): JournalLine[] {
  const wanted = new Set(ids);
  const transactions = new Set<string>();
  const about = lines.filter((line) => {
    const concerns =
      ('id' in line && wanted.has(line.id)) || ('ids' in line && line.ids.some((id) => wanted.has(id)));
    if (concerns && 'transaction' in line) transactions.add(line.transaction);
    return concerns || ('transaction' in line && transactions.has(line.transaction));
  });
  const first = BigInt(about[0]?.at ?? 0);
  const last = BigInt(about.at(-1)?.at ?? 0);
  // Deaths and faults between the first and the last of them are what they are about.
  const around = lines.filter(
    (line) =>
      (line.did === 'die' || line.did === 'start' || line.did === 'fault' || line.did === 'log') &&
      BigInt(line.at) >= first &&
      BigInt(line.at) <= last,
  );
  return [...about, ...around].sort((a, b) => (BigInt(a.at) < BigInt(b.at) ? -1 : 1)).slice(0, LINES_MAX);
}

/** Of a batch, only the messages that it is about. */
function detail(rest: object, wanted: readonly string[]): string {
  const shown = Object.entries(rest).map(([name, value]) => [
    name,
    Array.isArray(value)
      ? `${(value as string[]).filter((id) => wanted.includes(id)).join(',')} (of ${value.length})`
      : String(value),
  ]);
  return shown.map(([name, value]) => `${name}=${value}`).join(' ');
}
