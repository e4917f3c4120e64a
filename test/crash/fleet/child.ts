import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

import type { MemberCommand, MemberTask } from '../protocol';

interface Waiter {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** One process of the fleet, from its start to its end. */
export class Child {
  /** Resolves when it serves, or has ended before that. */
  readonly ready: Promise<void>;
  /** How it ended: a signal's name, or an exit code. */
  readonly ended: Promise<string>;
  isReady = false;
  hasEnded = false;
  private readonly waiting = new Map<number, Waiter>();
  private commands = 0;

  private constructor(private readonly process: ChildProcess) {
    this.ended = once(process, 'exit').then(([code, signal]) => {
      this.hasEnded = true;
      for (const { reject } of this.waiting.values()) reject(new Error('the process has ended'));
      return String(signal ?? code);
    });
    const ready = new Promise<void>((resolve) => {
      process.on('message', (message: { ready?: true; id?: number; result?: unknown; error?: string }) => {
        if (message.ready) {
          this.isReady = true;
          resolve();
        } else this.answer(message.id!, message.result, message.error);
      });
    });
    // A message to a process that has just died.
    process.on('error', () => undefined);
    this.ready = Promise.race([ready, this.ended.then(() => undefined)]);
  }

  static start(task: MemberTask): Child {
    const child = fork(join(__dirname, '../child/main.ts'), [JSON.stringify(task)], {
      execArgv: ['--require', join(__dirname, '../../support/typescript.cjs')],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    return new Child(child);
  }

  /** Rejects when the command fails, or when the process ends before it has answered. */
  run<Result = void>(command: MemberCommand): Promise<Result> {
    if (this.hasEnded) return Promise.reject(new Error('the process has ended'));
    const id = (this.commands += 1);
    return new Promise<Result>((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve, reject });
      this.process.send({ id, command }, (error) => {
        if (error !== null) this.answer(id, undefined, String(error));
      });
    });
  }

  signal(name: NodeJS.Signals): void {
    if (!this.hasEnded) this.process.kill(name);
  }

  private answer(id: number, result: unknown, error: string | undefined): void {
    const waiter = this.waiting.get(id);
    this.waiting.delete(id);
    if (error === undefined) waiter?.resolve(result);
    else waiter?.reject(new Error(error));
  }
}
