import type { Bench } from '../harness/row';

/** A library that does the like, in the same harness, at its best documented settings. */
export interface Peer {
  readonly name: string;
  readonly file: string;
  /** A larger backlog would take hours: so many are enough to see the rate. */
  readonly backlogMax?: number;
}

const ALL: readonly Peer[] = [
  { name: 'graphile-worker', file: 'peers/graphile-worker.ts' },
  { name: 'pg-boss', file: 'peers/pg-boss.ts' },
  // Its polling function sorts all that is unsent each time, so the rate falls as the backlog grows.
  { name: 'pg-transactional-outbox', file: 'peers/pg-transactional-outbox.ts', backlogMax: 2_000 },
];

/** Those that can run here. All of them want PostgreSQL. */
export function peersFor({ options, database }: Bench): readonly Peer[] {
  return options.peers && database.type === 'postgres' ? ALL : [];
}
