import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

import type { ProcessCommand, ProcessTask } from './process-task';

/** An application in a process of its own. */
export class AppChild {
  private readonly waiting = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: Error) => void }
  >();
  private commands = 0;

  private constructor(
    private readonly process: ChildProcess,
    /** The signal that ended it, or null. */
    readonly ended: Promise<NodeJS.Signals | null>,
  ) {
    process.on('message', (message: { id?: number; result?: never; error?: string }) => {
      const waiter = this.waiting.get(message.id ?? -1);
      if (waiter === undefined) return;
      if (message.error === undefined) waiter.resolve(message.result as never);
      else waiter.reject(new Error(message.error));
    });
  }

  static async start(task: ProcessTask): Promise<AppChild> {
    const child = fork(join(__dirname, 'app-process.ts'), [JSON.stringify(task)], {
      execArgv: ['--require', join(__dirname, '../../support/typescript.cjs')],
    });
    const ended = once(child, 'exit').then(([, signal]) => signal as NodeJS.Signals | null);
    const app = new AppChild(child, ended);
    const ready = once(child, 'message');
    await Promise.race([
      ready,
      ended.then(() => {
        throw new Error('the application ended before it was ready');
      }),
    ]);
    return app;
  }

  /** Resolves with what the command brought; rejects when it failed, or when the process died meanwhile. */
  run<Result = Record<string, number>>(command: ProcessCommand): Promise<Result> {
    const id = (this.commands += 1);
    const answer = new Promise<Result>((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve, reject });
    });
    this.process.send({ id, command }, () => undefined);
    const died = this.ended.then((signal): never => {
      throw new Error(`the application died of ${signal ?? 'its own will'}`);
    });
    return Promise.race([answer, died]);
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.process.kill(signal);
  }

  /** Shuts down as Nest does. */
  async close(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    await this.run({ do: 'close' }).catch(() => undefined);
    await this.ended;
  }
}
