import type { CpuShares } from './cpu';
import type { Bench, Figure, Row, Sample, Variant } from './row';
import { type Spread, spreadOf } from './statistics';

export interface FigureResult {
  readonly name: string;
  readonly unit: string;
  readonly values: readonly number[];
  readonly spread: Spread;
  /** To the baseline of the same round; null for the baseline itself, or where there is none. */
  readonly ratio: Spread | null;
}

export interface VariantResult {
  readonly name: string;
  readonly kind: Variant['kind'];
  readonly figures: readonly FigureResult[];
  /** Medians of the rounds. */
  readonly cpu: CpuShares | null;
}

export interface RowResult {
  readonly name: string;
  readonly what: string;
  readonly figures: readonly Figure[];
  readonly variants: readonly VariantResult[];
}

/**
 * Runs the variants in turns, A B A B: what changes on the machine meanwhile changes all of them alike. A ratio is taken
 * within a round, between neighbours in time.
 */
export async function runRow(
  row: Row,
  bench: Bench,
  progress: (done: number, all: number, doing: string) => void,
): Promise<RowResult> {
  progress(0, 1, `${row.name}: preparing`);
  const { figures, variants, close } = await row.open(bench);
  const samples = new Map<Variant, Sample[]>(variants.map((variant) => [variant, []]));
  const rounds = row.once === true ? 1 : bench.options.rounds;
  const all = rounds * variants.length;
  let done = 0;
  try {
    for (let round = 0; round < rounds; round += 1) {
      for (const variant of variants) {
        progress(done, all, `${row.name}: ${variant.name}`);
        samples.get(variant)!.push(await variant.run());
        done += 1;
      }
    }
  } finally {
    await close();
  }
  progress(all, all, row.name);
  const baseline = variants.find(({ kind }) => kind === 'baseline');
  return {
    name: row.name,
    what: row.what,
    figures,
    variants: variants.map((variant) =>
      resultOf(variant, samples.get(variant)!, figures, baseline && samples.get(baseline)!),
    ),
  };
}

function resultOf(
  { name, kind }: Variant,
  samples: readonly Sample[],
  figures: readonly Figure[],
  baseline: readonly Sample[] | undefined,
): VariantResult {
  const results = figures.flatMap((figure): FigureResult[] => {
    const values = samples.map((sample) => sample.figures[figure.name]);
    if (!values.every((value) => value !== undefined)) return [];
    const bases = baseline?.map((sample) => sample.figures[figure.name]) ?? [];
    const ratios = values.flatMap((value, round) => {
      const base = bases[round];
      return base === undefined ? [] : [value / base];
    });
    const ratio = kind === 'baseline' || ratios.length === 0 ? null : spreadOf(ratios);
    return [{ name: figure.name, unit: figure.unit, values, spread: spreadOf(values), ratio }];
  });
  return { name, kind, figures: results, cpu: cpuOf(samples) };
}

function cpuOf(samples: readonly Sample[]): CpuShares | null {
  const shares = samples.flatMap(({ cpu }) => (cpu === null ? [] : [cpu]));
  if (shares.length === 0) return null;
  const median = (part: keyof CpuShares): number => spreadOf(shares.map((share) => share[part])).median;
  return {
    node: median('node'),
    database: median('database'),
    broker: median('broker'),
    others: median('others'),
  };
}
