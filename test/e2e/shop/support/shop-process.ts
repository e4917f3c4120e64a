import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { trackResource } from '../../../support/process/tracked-resources';
import { waitFor } from '../../../support/wait-for';

const ROOT = resolve(__dirname, '../../../..');
const HOOK = resolve(__dirname, '../../../support/typescript.cjs');
const LISTENING = /^Shop is listening on (http:\/\/127\.0\.0\.1:\d+)$/m;

/** The variables that the shop reads; what the machine of the test has set is not meant for it. */
interface ShopEnvironment {
  PORT?: string;
  DATABASE_URL?: string;
  RABBITMQ_URL?: string;
  SHOP_DATA_DIR?: string;
  SHOP_LOG?: string;
}

/** A program of the sample in a process of its own. */
export class ShopProcess {
  output = '';
  private readonly exited: Promise<number | null>;

  private constructor(private readonly child: ChildProcess) {
    const release = trackResource(`sample-app in process ${child.pid}`);
    for (const stream of [child.stdout, child.stderr]) {
      stream!.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    }
    this.exited = once(child, 'close').then(([code]) => {
      release();
      return code as number | null;
    });
  }

  /** Runs a program of the sample without waiting for anything. */
  static run(program: string, env: ShopEnvironment): ShopProcess {
    const {
      DATABASE_URL: _database,
      RABBITMQ_URL: _broker,
      SHOP_DATA_DIR: _directory,
      ...inherited
    } = process.env;
    const child = spawn(process.execPath, ['-r', HOOK, resolve(ROOT, 'sample-app', program)], {
      cwd: ROOT,
      env: { ...inherited, SHOP_LOG: 'warn', PORT: '0', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return new ShopProcess(child);
  }

  /** Starts the shop and resolves when it can serve. */
  static async start(env: ShopEnvironment): Promise<ShopProcess> {
    const shop = ShopProcess.run('main.ts', env);
    await waitFor(() => shop.child.exitCode !== null || LISTENING.test(shop.output), {
      timeoutMs: 60_000,
      what: 'the shop to open',
    });
    if (shop.child.exitCode !== null) throw new Error(`The shop ended: ${shop.output}`);
    return shop;
  }

  get url(): string {
    return LISTENING.exec(this.output)![1]!;
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** The exit code; null when it was killed. */
  end(): Promise<number | null> {
    return this.exited;
  }

  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.exited;
  }

  async stop(): Promise<number | null> {
    this.signal('SIGTERM');
    return this.exited;
  }
}
