import { readFileSync, readdirSync } from 'node:fs';

/** CPU time of a stretch of work as a share of one core: 2.00 is two cores in full. */
export interface CpuShares {
  readonly node: number;
  readonly database: number;
  readonly broker: number;
  /** Of everything else on the machine: the harness itself, and whoever disturbs. */
  readonly others: number;
}

/** The processes to look at; the children of each one count with it. */
export type CpuWatch = Readonly<Record<Exclude<keyof CpuShares, 'others'>, readonly number[]>>;

/** Linux counts in hundredths of a second towards user programs, on every platform Node.js runs on. */
const TICKS_PER_SECOND = 100;

interface ProcessTimes {
  readonly parent: number;
  readonly ticks: number;
}

/** Runs work, and says what it cost in CPU time; null where there is no /proc. */
export async function withCpu<Result>(
  watch: CpuWatch,
  work: () => Promise<Result>,
): Promise<{ result: Result; cpu: CpuShares | null }> {
  const before = usageOf(watch);
  const beganAt = performance.now();
  const result = await work();
  const seconds = (performance.now() - beganAt) / 1_000;
  const after = usageOf(watch);
  if (before === null || after === null) return { result, cpu: null };
  const share = (part: keyof CpuShares): number => (after[part] - before[part]) / TICKS_PER_SECOND / seconds;
  return {
    result,
    cpu: {
      node: share('node'),
      database: share('database'),
      broker: share('broker'),
      others: share('others'),
    },
  };
}

function usageOf(watch: CpuWatch): CpuShares | null {
  const processes = readProcesses();
  if (processes === null) return null;
  const children = new Map<number, number[]>();
  for (const [pid, { parent }] of processes) children.set(parent, [...(children.get(parent) ?? []), pid]);
  const ticksOf = (pid: number): number =>
    (processes.get(pid)?.ticks ?? 0) +
    (children.get(pid) ?? []).reduce((sum, child) => sum + ticksOf(child), 0);
  const sum = (pids: readonly number[]): number => pids.reduce((total, pid) => total + ticksOf(pid), 0);
  const [node, database, broker] = [sum(watch.node), sum(watch.database), sum(watch.broker)];
  return { node, database, broker, others: busyTicks() - node - database - broker };
}

/** Of all cores, since the machine was started. */
function busyTicks(): number {
  const [first = ''] = readFileSync('/proc/stat', 'utf8').split('\n');
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0] = first.split(/\s+/).slice(1).map(Number);
  return user + nice + system + irq + softIrq;
}

function readProcesses(): Map<number, ProcessTimes> | null {
  const processes = new Map<number, ProcessTimes>();
  let names: string[];
  try {
    names = readdirSync('/proc');
  } catch {
    return null;
  }
  for (const name of names) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      // The name of the program stands in brackets, and may itself hold spaces and brackets.
      const fields = stat
        .slice(stat.lastIndexOf(')') + 2)
        .split(' ')
        .map(Number);
      // After the state: the parent is the 2nd, and utime, stime, and those of children that have ended the 12th to 15th.
      const ticks = fields.slice(11, 15).reduce((sum, value) => sum + value, 0);
      processes.set(Number(name), { parent: fields[1]!, ticks });
    } catch {
      // It has ended meanwhile.
    }
  }
  return processes.size === 0 ? null : processes;
}
