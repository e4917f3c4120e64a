import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

export type Handlers = Readonly<Record<string, (argument: never) => unknown>>;

/** A role in a process of its own, so that its CPU time is its own. */
export class Child {
  private static profileDirectory: string | undefined;
  private readonly waiting = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: Error) => void }
  >();
  private readonly ended: Promise<unknown>;
  private calls = 0;

  private constructor(
    private readonly name: string,
    private readonly process: ChildProcess,
  ) {
    this.ended = once(process, 'exit').then(([code, signal]) => {
      const error = new Error(`${name} ended: ${String(code ?? signal)}`);
      for (const { reject } of this.waiting.values()) reject(error);
    });
    process.on('message', ({ id, result, error }: Answer) => {
      const waiter = this.waiting.get(id);
      this.waiting.delete(id);
      if (error === undefined) waiter?.resolve(result);
      else waiter?.reject(new Error(`${name}: ${error}`));
    });
  }

  /** From now on each child leaves its CPU profile there when it stops. */
  static profileInto(directory: string | undefined): void {
    Child.profileDirectory = directory;
  }

  /** @param file below bench/, such as `roles/application.ts`; @param config for the role's `serve()` */
  static async start(file: string, config: object): Promise<Child> {
    const profile = Child.profileDirectory;
    const child = fork(join(__dirname, '..', file), [JSON.stringify(config)], {
      execArgv: [
        '--require',
        join(__dirname, 'typescript.cjs'),
        ...(profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]),
      ],
      serialization: 'advanced',
    });
    const started = new Child(file, child);
    await started.call('ready');
    return started;
  }

  get pid(): number {
    return this.process.pid!;
  }

  /** Runs a command of the role and resolves with its result. */
  call<Result = void>(command: string, argument?: unknown): Promise<Result> {
    const id = (this.calls += 1);
    return new Promise<unknown>((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.process.send({ id, command, argument }, (error) => {
        if (error !== null) reject(error);
      });
    }) as Promise<Result>;
  }

  /** Lets the role clean up, and ends it. */
  async stop(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    await this.call('stop').catch((error: unknown) => {
      console.error(`${this.name} did not stop in an orderly way: ${String(error)}`);
      this.process.kill('SIGKILL');
    });
    if (this.process.connected) this.process.disconnect();
    await this.ended;
  }
}

/** Starts the children one after the other, gives them to the work, and stops them whatever becomes of it. */
export async function withChildren<Result>(
  starts: readonly (() => Promise<Child>)[],
  work: (...children: Child[]) => Promise<Result>,
): Promise<Result> {
  const children: Child[] = [];
  try {
    for (const start of starts) children.push(await start());
    return await work(...children);
  } finally {
    // The last one first: whoever sends stops before whoever receives.
    for (const child of children.reverse()) await child.stop();
  }
}
