import { waitFor } from '../../support/wait-for';
import { PATIENCE } from '../../support/patience';
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy';
import type { MemberCommand, MemberKind, MemberTask } from '../protocol';
import type { Random } from '../random';
import { Child } from './child';

/** A producer publishes at this pace. */
export interface Pace {
  readonly pauseMaxMs: number;
  readonly writers: number;
}

export interface MemberSettings {
  readonly kind: MemberKind;
  readonly name: string;
  /** Everything about a start but what is drawn anew each time. */
  readonly task: Omit<MemberTask, 'name' | 'kind' | 'fastPath' | 'clockOffsetMs'>;
  readonly pace: Pace;
  readonly random: Random;
}

const CLOCK_OFFSETS_MS = [0, 0, -3_600_000, 3_600_000, -30_000, 30_000];
const READY_TIMEOUT_MS = 90_000;
const CLOSE_TIMEOUT_MS = 20_000 * PATIENCE;

/** One place in the fleet: a process behind proxies of its own, started again whenever it dies. */
export class Member {
  starts = 0;
  /** A fault is on it; another one must wait. */
  busy = false;
  private current: Child | null = null;
  private traffic = false;
  private closing = false;
  private supervising: Promise<void> = Promise.resolve();

  private constructor(
    private readonly settings: MemberSettings,
    readonly database: TcpProxy,
    readonly broker: TcpProxy,
  ) {}

  static async open(settings: MemberSettings): Promise<Member> {
    const [database, broker] = await Promise.all([
      startTcpProxy({ target: settings.task.database.url }),
      startTcpProxy({ target: settings.task.rabbitMqUrl }),
    ]);
    const member = new Member(settings, database, broker);
    member.start();
    return member;
  }

  get name(): string {
    return this.settings.name;
  }

  get kind(): MemberKind {
    return this.settings.kind;
  }

  /** The process of this moment. */
  get child(): Child {
    return this.current!;
  }

  /** Resolves when it serves, after however many deaths. */
  async ready(): Promise<void> {
    await waitFor(() => this.child.isReady && !this.child.hasEnded, {
      timeoutMs: READY_TIMEOUT_MS,
      what: `${this.name} to serve`,
    });
  }

  /** Publishes from now on, and after each start. */
  produce(): void {
    if (this.kind !== 'producer') return;
    this.traffic = true;
    if (this.child.isReady) this.beginTraffic(this.child);
  }

  /** Resolves when its last transaction has ended. */
  async halt(): Promise<void> {
    this.traffic = false;
    if (this.kind === 'producer') await this.run({ do: 'halt' });
  }

  /** Runs a command in the process of this moment. */
  run<Result = void>(command: MemberCommand): Promise<Result> {
    return this.child.run<Result>(command);
  }

  /** Shuts down in order and stays down. @returns what is wrong with how it ended, or null. */
  async close(): Promise<string | null> {
    this.closing = true;
    const { child } = this;
    child.run({ do: 'close' }).catch(() => undefined);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve('late'), CLOSE_TIMEOUT_MS);
    });
    const end = await Promise.race([child.ended, late]);
    clearTimeout(timer);
    if (end !== '0') await this.kill();
    this.closeProxies();
    if (end === 'late')
      return `${this.name} was still alive ${CLOSE_TIMEOUT_MS} ms after it was told to close`;
    return end === '0' ? null : `${this.name} ended with ${end} when it was told to close`;
  }

  /** Ends it at once and for good. */
  async kill(): Promise<void> {
    this.closing = true;
    this.child.signal('SIGKILL');
    await this.child.ended;
    await this.supervising;
    this.closeProxies();
  }

  private closeProxies(): void {
    this.database.close();
    this.broker.close();
  }

  private start(): void {
    const { task, name, kind, random } = this.settings;
    this.starts += 1;
    const child = Child.start({
      ...task,
      name: `${name}#${this.starts}`,
      kind,
      fastPath: random.chance(0.7),
      clockOffsetMs: random.pick(CLOCK_OFFSETS_MS),
      database: { ...task.database, url: this.database.url(task.database.url) },
      rabbitMqUrl: this.broker.url(task.rabbitMqUrl),
    });
    this.current = child;
    void child.ready.then(() => {
      if (this.traffic && !child.hasEnded) this.beginTraffic(child);
    });
    this.supervising = child.ended.then(() => {
      if (!this.closing) this.start();
    });
  }

  private beginTraffic(child: Child): void {
    const { pace, random } = this.settings;
    child.run({ do: 'produce', seed: random.integer(0, 2 ** 31), ...pace }).catch(() => undefined);
  }
}
