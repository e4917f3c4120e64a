import type { Broker } from './broker';
import { type CpuShares, withCpu } from './cpu';
import type { BenchOptions, DatabaseType } from './options';
import type { DatabaseServer } from './servers';
import type { Child } from './child';

/** What the rows work with. */
export interface Bench {
  readonly options: BenchOptions;
  readonly database: DatabaseServer;
  readonly broker: Broker;
}

/** What one run of a variant brought: each figure by its name. */
export interface Sample {
  readonly figures: Readonly<Record<string, number>>;
  readonly cpu: CpuShares | null;
}

/** Something that a row measures. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  /** What our variant must reach: as a ratio to the baseline, or by itself. */
  readonly target?: { readonly of: 'ratio' | 'value'; readonly bound: number };
}

export interface Variant {
  readonly name: string;
  /** `more`: ours in other settings, or a peer; compared with the baseline, and not held to the target. */
  readonly kind: 'baseline' | 'ours' | 'more';
  run(): Promise<Sample>;
}

/** A row with everything set up. */
export interface OpenRow {
  readonly figures: readonly Figure[];
  /** In the order in which they take turns; the baseline first, where there is one. */
  readonly variants: readonly Variant[];
  close(): Promise<void>;
}

/** One row of the table. */
export interface Row {
  readonly name: string;
  readonly group: string;
  /** Another row that it is a variety of, and whose name chooses both. */
  readonly varietyOf?: string;
  /** What is measured, for the table. */
  readonly what: string;
  /** The one database that it is about. @default each */
  readonly database?: DatabaseType;
  /** What this machine lacks for it; null: nothing. @default nothing */
  readonly lacks?: () => string | null;
  /** It watches one thing for minutes, and runs in one round, however many are asked for. @default false */
  readonly once?: boolean;
  open(bench: Bench): Promise<OpenRow>;
}

/** Runs work and measures what the children, the database and the broker spend on it. */
export function measured<Result>(
  { database, broker }: Bench,
  children: readonly Child[],
  work: () => Promise<Result>,
): Promise<{ result: Result; cpu: CpuShares | null }> {
  return withCpu(
    { node: children.map(({ pid }) => pid), database: [database.pid], broker: [broker.pid] },
    work,
  );
}

/** For rows that are about throughput alone. @param bound what ours must reach; none where nothing is asked */
export function perSecond(bound?: number): Figure {
  return {
    name: 'rate',
    unit: '/s',
    better: 'higher',
    ...(bound !== undefined && { target: { of: 'ratio', bound } }),
  };
}
