import { mkdtempSync, readFileSync } from 'node:fs';
import { chown, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { PATIENCE } from '../patience';
import { type UnprivilegedUser, isTraversable } from './unprivileged-user';
import { type SupervisedProcess } from './supervised-process';
import { trackResource } from './tracked-resources';

const START_TIMEOUT_MS = 90_000 * PATIENCE;
const STOP_TIMEOUT_MS = 30_000 * PATIENCE;
const PROBE_INTERVAL_MS = 40;

/**
 * A server that belongs to one suite: its own temporary directory, its own free port, no client but ours, so
 * that it may be killed. A subclass says how it is launched, and when it answers.
 */
export abstract class PrivateServer {
  readonly host = '127.0.0.1';
  private process: SupervisedProcess | undefined;
  private release: (() => void) | undefined;
  private removed = false;

  protected constructor(
    protected readonly name: string,
    readonly directory: string,
    readonly port: number,
  ) {}

  /** Starts the process; called for the first start and for each one after it. */
  protected abstract launch(): Promise<SupervisedProcess>;

  /** Resolves when the server answers its protocol, rejects as long as it does not. */
  protected abstract probe(): Promise<void>;

  /** Asks for an orderly shutdown. */
  protected abstract quit(process: SupervisedProcess): void;

  protected get logFile(): string {
    return join(this.directory, 'server.log');
  }

  get isRunning(): boolean {
    return this.process?.isRunning ?? false;
  }

  get pid(): number {
    if (!this.process?.isRunning) throw new Error(`${this.name} is not running`);
    return this.process.pid;
  }

  /** Starts the server, when it is not running, and resolves when it answers. */
  async start(): Promise<void> {
    if (this.removed) throw new Error(`${this.name} was stopped for good; start another one`);
    if (this.isRunning) return;
    this.release ??= trackResource(`${this.name} on port ${this.port}`);
    this.process = await this.launch();
    await this.untilReady(this.process);
  }

  /** SIGKILL: no shutdown, no flush; the data directory stays for `restart()`. */
  async kill(): Promise<void> {
    await this.process?.kill();
  }

  /** Starts again on the same port with the same data; shuts down in an orderly way first, if still running. */
  async restart(): Promise<void> {
    await this.shutDown();
    await this.start();
  }

  /** Freezes every process of the server (SIGSTOP): connections stay open and nothing answers. */
  pause(): void {
    this.process?.signalAll('SIGSTOP');
  }

  /** Ends `pause()`. */
  resume(): void {
    this.process?.signalAll('SIGCONT');
  }

  /** Ends the server for good and removes its directory. */
  async stop(): Promise<void> {
    if (this.removed) return;
    this.resume();
    await this.shutDown();
    this.removed = true;
    await this.afterStop();
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
    this.release?.();
  }

  /** The last lines of the server's own log. */
  logTail(lines = 30): string {
    try {
      return readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
    } catch {
      return '(no log)';
    }
  }

  /** For a subclass that has started more than the one process. */
  protected async afterStop(): Promise<void> {}

  private async shutDown(): Promise<void> {
    const { process } = this;
    if (!process?.isRunning) return;
    this.quit(process);
    const timeout = new AbortController();
    const late = delay(STOP_TIMEOUT_MS, 'late', { signal: timeout.signal }).catch(() => 'stopped');
    if ((await Promise.race([process.wait(), late])) === 'late') await process.kill();
    timeout.abort();
  }

  private async untilReady(process: SupervisedProcess): Promise<void> {
    const deadline = Date.now() + START_TIMEOUT_MS;
    let lastError: unknown = 'it was never asked';
    while (process.isRunning && Date.now() < deadline) {
      try {
        return await this.probe();
      } catch (error) {
        lastError = error;
      }
      await delay(PROBE_INTERVAL_MS);
    }
    const why = process.isRunning ? `does not answer: ${String(lastError)}` : 'ended while starting';
    await process.kill();
    throw new Error(`${this.name} ${why}\n${this.logTail()}`);
  }
}

/** A new directory under the system's temporary one, owned by the user whom the server runs as. */
export async function makeServerDirectory(name: string, owner?: UnprivilegedUser): Promise<string> {
  const base = [tmpdir(), '/tmp', '/var/tmp'].find((path) => !owner || isTraversable(path)) ?? tmpdir();
  const directory = mkdtempSync(join(base, `nestjs-outbox-${name}-`));
  if (owner) await chown(directory, owner.uid, owner.gid);
  return directory;
}
