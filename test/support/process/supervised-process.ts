import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** How a process is started and what is cleaned up after it when this process dies first. */
export interface SupervisedProcessOptions {
  command: string;
  args: readonly string[];
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  uid?: number | undefined;
  gid?: number | undefined;
  /** Both output streams are appended to this file. */
  logFile: string;
  /** Removed by the watchdog when this process dies without having stopped the child. */
  directory: string;
}

/**
 * Reads its standard input, which nobody but the parent can write to: a line means that the child has ended,
 * the end of the file that the parent is dead, however it died. Then the child's group and its direct children
 * (PostgreSQL's back ends lead groups of their own) are killed and the directory removed.
 */
const WATCHDOG = `
if read -r released; then exit 0; fi
children=$(cat "/proc/$1/task/$1/children" 2>/dev/null)
kill -s KILL -- "-$1" $children 2>/dev/null
for attempt in 1 2 3 4 5; do rm -rf -- "$2" 2>/dev/null && break; sleep 1; done
`;

/** A child process in a group of its own that never outlives this process, not even after a SIGKILL. */
export class SupervisedProcess {
  readonly pid: number;
  readonly exited: Promise<void>;
  private readonly child: ChildProcess;
  private running = true;

  private constructor(child: ChildProcess, pid: number, directory: string) {
    this.child = child;
    this.pid = pid;
    const watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'watchdog', String(pid), directory], {
      stdio: ['pipe', 'ignore', 'ignore'],
      cwd: '/',
      detached: true,
    });
    watchdog.unref();
    watchdog.stdin.on('error', () => {});
    (watchdog.stdin as unknown as { unref(): void }).unref();
    this.exited = new Promise((resolve) => {
      child.once('exit', () => {
        this.running = false;
        watchdog.stdin.end('released\n');
        resolve();
      });
    });
    child.unref();
  }

  static async start(options: SupervisedProcessOptions): Promise<SupervisedProcess> {
    const log = openSync(options.logFile, 'a');
    try {
      const child = spawn(options.command, options.args, {
        stdio: ['ignore', log, log],
        cwd: options.cwd ?? options.directory,
        env: options.env ?? process.env,
        detached: true,
        ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.gid }),
      });
      const spawned = new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', reject);
      });
      // The watchdog is attached before anything is awaited: the child is never without one.
      const supervised =
        child.pid === undefined ? undefined : new SupervisedProcess(child, child.pid, options.directory);
      await spawned;
      if (!supervised) throw new Error(`${options.command} did not start`);
      return supervised;
    } finally {
      closeSync(log);
    }
  }

  get isRunning(): boolean {
    return this.running;
  }

  /** Sends a signal to the child alone. */
  signal(name: NodeJS.Signals): void {
    if (this.running) this.child.kill(name);
  }

  /** Sends a signal to every process of the child's group and to its direct children. */
  signalAll(name: NodeJS.Signals): void {
    for (const target of [-this.pid, ...childrenOf(this.pid)]) {
      try {
        process.kill(target, name);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
  }

  /** SIGKILL for all of it; resolves when neither the child nor any descendant of it is left. */
  async kill(): Promise<void> {
    if (!this.running) return;
    const descendants = descendantsOf(this.pid);
    this.signalAll('SIGKILL');
    await this.wait();
    while (descendants.some(isAlive)) await delay(5);
  }

  /** Resolves when the child has ended. */
  async wait(): Promise<void> {
    this.child.ref();
    await this.exited;
  }
}

/** The processes that any thread of this one has started, and theirs. Linux tells; elsewhere the list is empty. */
function descendantsOf(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);
}

function childrenOf(pid: number): number[] {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    const lists = threads.map((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8'));
    return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number));
  } catch {
    return [];
  }
}

/** Whether a process runs; one that has ended and that nobody has buried yet does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
