import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { extname, join } from 'node:path';
import { createInterface } from 'node:readline';

/** The shop in a process of its own, which can be killed and started again. */
export class ShopProcess {
  private child: ChildProcess | undefined;
  private address = 'http://127.0.0.1:1';

  constructor(private readonly env: NodeJS.ProcessEnv) {}

  /** Where the shop answers; another address after each start. */
  get url(): string {
    return this.address;
  }

  async start(): Promise<void> {
    const main = join(__dirname, '..', `main${extname(__filename)}`);
    const child = spawn(process.execPath, [...process.execArgv, main], {
      env: { ...process.env, ...this.env, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.child = child;
    for await (const line of createInterface({ input: child.stdout })) {
      const [, url] = /^Shop is listening on (\S+)$/.exec(line) ?? [];
      if (!url) continue;
      this.address = url;
      child.stdout.resume();
      return;
    }
    throw new Error('the shop did not start');
  }

  /** What a power cut does: no shutdown, no goodbye. */
  kill(): Promise<void> {
    return this.end('SIGKILL');
  }

  stop(): Promise<void> {
    return this.end('SIGTERM');
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }
}
