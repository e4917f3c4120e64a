import type { Figure } from './row';
import type { FigureResult, RowResult, VariantResult } from './run-row';
import type { Spread } from './statistics';

const HEAD = [
  'what',
  'variant',
  'baseline',
  'measured (min–max)',
  'ratio (min–max)',
  'target',
  'CPU node/db/broker/others',
  'CPU ms for each node/db/broker',
];

/** The results as a table in text, which is Markdown, too. */
export function tableOf(results: readonly RowResult[]): string {
  const lines = results.flatMap(linesOf);
  const widths = HEAD.map((head, column) =>
    Math.max(head.length, ...lines.map((line) => line[column]!.length)),
  );
  const print = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [
    print(HEAD),
    `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`,
    ...lines.map(print),
  ].join('\n');
}

/** Whether our variant keeps a figure's target; null where there is none. */
export function isKept(figure: Figure, result: FigureResult): boolean | null {
  const { target } = figure;
  if (target === undefined) return null;
  const reached = target.of === 'ratio' ? result.ratio?.median : result.spread.median;
  if (reached === undefined) return null;
  return figure.better === 'higher' ? reached >= target.bound : reached <= target.bound;
}

function linesOf({ what, figures, variants }: RowResult): string[][] {
  const baseline = variants.find(({ kind }) => kind === 'baseline');
  return variants.flatMap((variant) =>
    figures.flatMap((figure) => {
      const result = figureOf(variant, figure);
      if (result === undefined) return [];
      const base = variant === baseline ? undefined : baseline && figureOf(baseline, figure);
      return [
        [
          figures.length === 1 ? what : `${what}, ${figure.name}`,
          variant.name,
          base === undefined ? '–' : `${amount(base.spread.median)} ${figure.unit}`,
          `${spread(result.spread)} ${figure.unit}`,
          result.ratio === null ? '–' : spread(result.ratio, 2),
          variant.kind === 'ours' ? targetOf(figure, result) : '',
          sharesText(variant),
          costText(variant, result),
        ],
      ];
    }),
  );
}

function figureOf(variant: VariantResult, figure: Figure): FigureResult | undefined {
  return variant.figures.find(({ name }) => name === figure.name);
}

function targetOf(figure: Figure, result: FigureResult): string {
  const kept = isKept(figure, result);
  if (kept === null) return '';
  const sign = figure.better === 'higher' ? '≥' : '≤';
  const unit = figure.target!.of === 'ratio' ? '' : ` ${figure.unit}`;
  return `${sign} ${figure.target!.bound}${unit}${kept ? '' : ' MISSED'}`;
}

function sharesText({ cpu }: VariantResult): string {
  return cpu === null ? '–' : numbers([cpu.node, cpu.database, cpu.broker, cpu.others], 2);
}

/** What one message or transaction costs. It hardly changes when somebody else takes the CPU, too. */
function costText({ cpu }: VariantResult, { name, spread: { median } }: FigureResult): string {
  if (cpu === null || name !== 'rate') return '–';
  return numbers(
    [cpu.node, cpu.database, cpu.broker].map((share) => (share * 1_000) / median),
    3,
  );
}

function numbers(values: readonly number[], digits: number): string {
  return values.map((value) => value.toFixed(digits)).join(' / ');
}

function spread({ median, min, max }: Spread, digits?: number): string {
  const text = (value: number): string => (digits === undefined ? amount(value) : value.toFixed(digits));
  return min === max ? text(median) : `${text(median)} (${text(min)}–${text(max)})`;
}

function amount(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', { maximumFractionDigits: digits });
}
