import { KILL_POINTS, type KillPoint, type MemberKind } from './protocol';
import { Random } from './random';

/** What the campaign does to one process, or to a server. Milliseconds are how long it lasts. */
export type Fault =
  | {
      readonly kind: 'kill at a point';
      readonly member: MemberKind;
      readonly which: number;
      readonly point: KillPoint;
      readonly passages: number;
    }
  | {
      readonly kind: 'kill at random';
      readonly member: MemberKind;
      readonly which: number;
      readonly afterMs: number;
    }
  | { readonly kind: 'shut down and start'; readonly member: MemberKind; readonly which: number }
  | {
      readonly kind: 'stop and continue';
      readonly member: MemberKind;
      readonly which: number;
      readonly leases: number;
    }
  | {
      readonly kind: 'cut' | 'reset idle connections';
      readonly member: MemberKind;
      readonly which: number;
      readonly link: Link;
    }
  | {
      readonly kind: 'stall' | 'slow' | 'refuse';
      readonly member: MemberKind;
      readonly which: number;
      readonly link: Link;
      readonly ms: number;
    }
  | { readonly kind: 'kill and restart the broker' | 'kill and restart the database'; readonly ms: number };

export type Link = 'database' | 'broker';
export type FaultKind = Fault['kind'];

export interface Step {
  readonly fault: Fault;
  /** Traffic goes on for so long before the next one. */
  readonly pauseMs: number;
}

/** What a table calls it. */
export function nameOf(fault: Fault): string {
  if (fault.kind === 'kill at a point') return `killed ${fault.point}`;
  return 'link' in fault ? `${fault.kind}: ${fault.link}` : fault.kind;
}

/** How often each kind comes, relative to the others. */
const WEIGHTS: readonly (readonly [FaultKind, number])[] = [
  ['kill at a point', 40],
  ['kill at random', 15],
  ['shut down and start', 5],
  ['stop and continue', 8],
  ['cut', 10],
  ['reset idle connections', 6],
  ['stall', 6],
  ['slow', 4],
  ['refuse', 4],
  ['kill and restart the broker', 2],
  ['kill and restart the database', 2],
];
const KINDS = WEIGHTS.flatMap(([kind, weight]) => Array.from({ length: weight }, () => kind));

const MEMBERS: readonly MemberKind[] = ['producer', 'relay', 'consumer'];

/** Who passes a line. */
const PASSED_BY: Record<KillPoint, readonly MemberKind[]> = {
  'after the row is inserted': ['producer'],
  'before COMMIT is sent': ['producer', 'consumer'],
  'when COMMIT is sent, before its answer': ['producer', 'consumer'],
  'after COMMIT, before the hand-over': ['producer'],
  'after the send, before the confirmation': ['producer', 'relay'],
  'when the confirmation has come, before it is taken': ['producer', 'relay'],
  'after the confirmation, before it is written down': ['producer', 'relay'],
  'in a run, after a confirmation, before it is written down': ['producer', 'relay'],
  'in a run, when a part of it is written down': ['producer', 'relay'],
  'in the middle of a batch of completions': ['producer', 'relay'],
  'after the completion, before the successor is promoted': ['producer', 'relay'],
  'after the completion, before the successor is sent': ['producer', 'relay'],
  'inside a handler': ['consumer'],
  "after a handler's commit, before the ack": ['consumer'],
  'in shutdown': ['producer', 'relay'],
};

/** The steps that belong to a seed: the same for the same seed, without an end. */
export function* planOf(seed: number): Generator<Step, never> {
  const random = new Random(seed);
  for (;;) yield { fault: faultOf(random), pauseMs: random.integer(0, 2_000) };
}

function faultOf(random: Random): Fault {
  const kind = random.pick(KINDS);
  const target = { member: random.pick(MEMBERS), which: random.integer(0, 1) };
  const link = random.pick(['database', 'broker'] as const);
  switch (kind) {
    case 'kill at a point': {
      const point = random.pick(KILL_POINTS);
      return {
        kind,
        ...target,
        member: random.pick(PASSED_BY[point]),
        point,
        passages: random.integer(1, 20),
      };
    }
    case 'kill at random':
      return { kind, ...target, afterMs: random.integer(0, 500) };
    case 'shut down and start':
      return { kind, ...target };
    case 'stop and continue':
      return { kind, ...target, leases: random.pick([0.5, 1.2, 1.5]) };
    case 'cut':
    case 'reset idle connections':
      return { kind, ...target, link };
    case 'stall':
    case 'slow':
    case 'refuse':
      return { kind, ...target, link, ms: random.integer(200, 5_000) };
    case 'kill and restart the broker':
    case 'kill and restart the database':
      return { kind, ms: random.integer(0, 3_000) };
  }
}
