import { isKept } from './report';
import type { RowResult } from './run-row';

const WIDTH = 860;
const LABEL_WIDTH = 430;
const BAR_HEIGHT = 16;
const LINE_HEIGHT = 24;
const TOP = 56;
const COLORS = { ours: '#2563eb', more: '#9ca3af', missed: '#d97706', target: '#111827', grid: '#e5e7eb' };

interface Bar {
  readonly label: string;
  readonly ratio: number;
  readonly color: string;
  readonly target: number | undefined;
}

/** All ratios of a run as bars: 1.00 is the baseline, and a black line each target. */
export function chartOf(title: string, results: readonly RowResult[]): string {
  const bars = results.flatMap(barsOf);
  const scaleMax = Math.max(
    1.2,
    ...bars.map(({ ratio, target }) => Math.min(3, Math.max(ratio, target ?? 0))),
  );
  const x = (ratio: number): number =>
    LABEL_WIDTH + (Math.min(ratio, scaleMax) / scaleMax) * (WIDTH - LABEL_WIDTH - 60);
  const height = TOP + bars.length * LINE_HEIGHT + 20;
  const one = x(1);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    `<text x="16" y="24" font-size="15" font-weight="bold">${escape(title)}</text>`,
    `<text x="${one}" y="46" text-anchor="middle" fill="#6b7280">baseline = 1.00</text>`,
    `<line x1="${one}" y1="${TOP - 4}" x2="${one}" y2="${height - 12}" stroke="${COLORS.grid}" stroke-width="2"/>`,
    ...bars.flatMap((bar, index) => barSvg(bar, TOP + index * LINE_HEIGHT, x)),
    '</svg>',
    '',
  ].join('\n');
}

function barSvg({ label, ratio, color, target }: Bar, y: number, x: (ratio: number) => number): string[] {
  const middle = y + BAR_HEIGHT - 4;
  const mark =
    target === undefined
      ? []
      : [
          `<line x1="${x(target)}" y1="${y - 2}" x2="${x(target)}" y2="${y + BAR_HEIGHT + 2}" stroke="${COLORS.target}" stroke-width="2"/>`,
        ];
  return [
    `<text x="${LABEL_WIDTH - 8}" y="${middle}" text-anchor="end">${escape(label)}</text>`,
    `<rect x="${LABEL_WIDTH}" y="${y}" width="${Math.max(1, x(ratio) - LABEL_WIDTH).toFixed(1)}" height="${BAR_HEIGHT}" fill="${color}"/>`,
    ...mark,
    `<text x="${x(Math.max(ratio, target ?? 0)) + 6}" y="${middle}">${ratio.toFixed(2)}</text>`,
  ];
}

function barsOf({ what, figures, variants }: RowResult): Bar[] {
  return variants.flatMap((variant) =>
    figures.flatMap((figure): Bar[] => {
      const result = variant.figures.find(({ name }) => name === figure.name);
      if (result?.ratio == null) return [];
      const ours = variant.kind === 'ours';
      const missed = ours && isKept(figure, result) === false;
      return [
        {
          label: `${what}${figures.length > 1 ? `, ${figure.name}` : ''}: ${variant.name}`,
          ratio: result.ratio.median,
          color: !ours ? COLORS.more : missed ? COLORS.missed : COLORS.ours,
          target: ours && figure.target?.of === 'ratio' ? figure.target.bound : undefined,
        },
      ];
    }),
  );
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
