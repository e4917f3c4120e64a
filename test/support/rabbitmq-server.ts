import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { connect } from 'amqplib';
import { requireProgram } from './process/debian-package';
import { freePort } from './process/free-port';
import { PrivateServer, makeServerDirectory } from './process/private-server';
import { SupervisedProcess } from './process/supervised-process';

const run = promisify(execFile);

/**
 * On few cores Erlang spends most of its start on waking the thread that reads the next module file, and on looking
 * for that file in the directories of seventy plugins. A short busy wait and the right directories first make it
 * three times as fast.
 */
const FAST_START = '+sbwt medium +sbwtdio medium';
const FIRST_APPLICATIONS = /^(rabbit|rabbit_common|rabbitmq_prelaunch|ra|osiris)-[\d.]+$/;

const RELEASES = '/usr/lib/rabbitmq/lib';
export const RABBITMQ_PROGRAM = {
  // Debian's own wrappers in /usr/sbin insist on a user of their own and on one broker per machine.
  find: () =>
    (existsSync(RELEASES) ? readdirSync(RELEASES) : [])
      .map((release) => join(RELEASES, release, 'sbin', 'rabbitmq-server'))
      .find(existsSync),
  packageName: 'rabbitmq-server',
  environmentVariable: 'TEST_RABBITMQ_URL',
};

export interface RabbitMqServerOptions {
  /** Further lines of rabbitmq.conf. */
  config?: Record<string, string | number>;
  /** Plugins to enable; they come with the broker. @default none */
  plugins?: readonly string[];
  /** Trades the broker's idle CPU time for a quick start; a benchmark wants the settings it ships with. @default true */
  fastStart?: boolean;
}

interface Ports {
  amqp: number;
  distribution: number;
  epmd: number;
}

export interface QueueState {
  name: string;
  messages: number;
  messagesReady: number;
  messagesUnacknowledged: number;
  consumers: number;
}

/** A private RabbitMQ on free ports of 127.0.0.1; user `guest`, password `guest`. */
export class RabbitMqServer extends PrivateServer {
  private epmd: SupervisedProcess | undefined;

  constructor(
    directory: string,
    private readonly ports: Ports,
    private readonly program: string,
    private readonly options: RabbitMqServerOptions,
  ) {
    super('RabbitMQ', directory, ports.amqp);
  }

  /** The address of the virtual host `/`. */
  get url(): string {
    return this.urlOf('/');
  }

  urlOf(vhost: string): string {
    return `amqp://guest:guest@${this.host}:${this.port}/${encodeURIComponent(vhost)}`;
  }

  /** Runs `rabbitmqctl` against this broker and returns what it prints. It takes a second or two. */
  async ctl(...args: string[]): Promise<string> {
    const { stdout } = await run(join(this.program, '..', 'rabbitmqctl'), ['-q', ...args], {
      env: this.environment(),
      cwd: this.directory,
      maxBuffer: 16 * 1024 * 1024,
    });
    return stdout;
  }

  /** Evaluates Erlang expressions inside the broker. */
  eval(erlang: string): Promise<string> {
    return this.ctl('eval', erlang);
  }

  /** Creates a virtual host in which `guest` may do anything, and returns its address. */
  async createVhost(name: string): Promise<string> {
    await this.createVhosts([name]);
    return this.urlOf(name);
  }

  /** Creates many virtual hosts for the price of one `rabbitmqctl`. */
  async createVhosts(names: readonly string[]): Promise<void> {
    const list = names.map((name) => `<<"${name}">>`).join(', ');
    await this.eval(
      `[begin
          ok = rabbit_vhost:add(VHost, <<"tests">>),
          All = <<".*">>,
          ok = rabbit_auth_backend_internal:set_permissions(<<"guest">>, VHost, All, All, All, <<"tests">>)
        end || VHost <- [${list}]].`,
    );
  }

  /** Raises the memory alarm: the broker blocks every connection that publishes. */
  async raiseAlarm(): Promise<void> {
    await this.ctl('set_vm_memory_high_watermark', '0.000001');
  }

  async clearAlarm(): Promise<void> {
    await this.ctl('set_vm_memory_high_watermark', '0.6');
  }

  /**
   * Waits until every declaration so far is on disk. RabbitMQ answers a declaration before that, so of one made just before
   * `kill()` the queue may be lost, with its messages; or, of a quorum queue, where its log is: then it starts again without
   * log and without leader, and never confirms a message.
   */
  async syncTopology(): Promise<void> {
    await this.eval('mnesia:sync_log(), [ok = dets:sync(Table) || Table <- dets:all()].');
  }

  async listQueues(vhost = '/'): Promise<QueueState[]> {
    const columns = ['name', 'messages', 'messages_ready', 'messages_unacknowledged', 'consumers'];
    const output = await this.ctl('list_queues', '-p', vhost, '--formatter=json', ...columns);
    return (JSON.parse(output) as Record<string, string | number>[]).map((row) => ({
      name: String(row.name),
      messages: Number(row.messages),
      messagesReady: Number(row.messages_ready),
      messagesUnacknowledged: Number(row.messages_unacknowledged),
      consumers: Number(row.consumers),
    }));
  }

  async initialize(): Promise<void> {
    const config = {
      'listeners.tcp.1': `${this.host}:${this.port}`,
      'log.file.level': 'warning',
      'disk_free_limit.absolute': '50MB',
      'vm_memory_high_watermark.relative': '0.6',
      ...this.options.config,
    };
    const lines = Object.entries(config).map(([name, value]) => `${name} = ${value}\n`);
    await writeFile(join(this.directory, 'rabbitmq.conf'), lines.join(''));
    await writeFile(
      join(this.directory, 'enabled_plugins'),
      `[${(this.options.plugins ?? []).join(', ')}].\n`,
    );
    await writeFile(join(this.directory, '.erlang.cookie'), 'nestjs-outbox', { mode: 0o400 });
  }

  /**
   * Erlang would start the port mapper as a daemon that outlives the broker, and one for the whole machine; so it
   * gets one that is ours.
   */
  protected async launch(): Promise<SupervisedProcess> {
    const common = { env: this.environment(), logFile: this.logFile, directory: this.directory };
    if (!this.epmd?.isRunning) {
      const args = ['-port', String(this.ports.epmd)];
      this.epmd = await SupervisedProcess.start({ command: 'epmd', args, ...common });
    }
    return SupervisedProcess.start({ command: this.program, args: [], ...common });
  }

  protected async probe(): Promise<void> {
    const connection = await connect(this.url);
    connection.on('error', () => {});
    await connection.close();
  }

  protected quit(process: SupervisedProcess): void {
    process.signal('SIGTERM');
  }

  protected override async afterStop(): Promise<void> {
    await this.epmd?.kill();
  }

  private firstCodePaths(): string[] {
    const plugins = join(this.program, '..', '..', 'plugins');
    const first = readdirSync(plugins).filter((name) => FIRST_APPLICATIONS.test(name));
    return first.map((name) => join(plugins, name, 'ebin'));
  }

  private environment(): NodeJS.ProcessEnv {
    return {
      PATH: process.env.PATH,
      LANG: 'C.UTF-8',
      HOME: this.directory,
      ERL_EPMD_ADDRESS: this.host,
      ERL_EPMD_PORT: String(this.ports.epmd),
      RABBITMQ_NODENAME: `rabbit-${this.port}@localhost`,
      RABBITMQ_DIST_PORT: String(this.ports.distribution),
      RABBITMQ_CONF_ENV_FILE: join(this.directory, 'no-environment-file'),
      RABBITMQ_CONFIG_FILE: join(this.directory, 'rabbitmq.conf'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(this.directory, 'enabled_plugins'),
      RABBITMQ_MNESIA_BASE: join(this.directory, 'data'),
      RABBITMQ_LOG_BASE: join(this.directory, 'log'),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: [
        ...((this.options.fastStart ?? true) ? [FAST_START] : []),
        `-pa ${this.firstCodePaths().join(' ')}`,
      ].join(' '),
      RABBITMQ_PID_FILE: join(this.directory, 'pid'),
    };
  }
}

/** Starts a private RabbitMQ, which takes some seconds; the caller stops it. */
export async function startRabbitMq(options: RabbitMqServerOptions = {}): Promise<RabbitMqServer> {
  const program = await requireProgram(RABBITMQ_PROGRAM);
  const directory = await makeServerDirectory('rabbitmq');
  const ports = { amqp: await freePort(), distribution: await freePort(), epmd: await freePort() };
  const server = new RabbitMqServer(directory, ports, program, options);
  await server.initialize();
  await server.start();
  return server;
}
