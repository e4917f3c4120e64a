import type { Row } from './checker';

/** The rows as a person reads them. */
export function formatTable(rows: readonly Row[]): string {
  const cells = rows.map(({ name, expected, found, addsUp }) => [
    name,
    expected === undefined ? '-' : count(expected),
    count(found),
    addsUp ? 'ok' : 'DOES NOT ADD UP',
  ]);
  const table = [['', 'expected', 'found', ''], ...cells];
  const widths = [0, 1, 2].map((column) => Math.max(...table.map((line) => line[column]!.length)));
  return table
    .map(([name, expected, found, verdict]) =>
      [name!.padEnd(widths[0]!), expected!.padStart(widths[1]!), found!.padStart(widths[2]!), verdict]
        .join('   ')
        .trimEnd(),
    )
    .join('\n');
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
