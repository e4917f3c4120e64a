import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type RowDataPacket, createConnection } from 'mysql2/promise';
import { requireProgram } from './process/debian-package';
import { freePort } from './process/free-port';
import { PrivateServer, makeServerDirectory } from './process/private-server';
import { SupervisedProcess } from './process/supervised-process';

const run = promisify(execFile);

export const MARIADB_PROGRAM = {
  find: () => ['/usr/sbin/mariadbd', '/usr/local/sbin/mariadbd', '/usr/libexec/mariadbd'].find(existsSync),
  packageName: 'mariadb-server',
  environmentVariable: 'TEST_MARIADB_URL',
};

export interface MariaDbServerOptions {
  /** Syncs to disk as in production; without it a commit is not flushed, which no SIGKILL can tell. @default false */
  durable?: boolean;
  /** Further settings, as options of `mariadbd` without the dashes. */
  settings?: Record<string, string | number>;
}

/** A private MariaDB on a free port of 127.0.0.1; user `root`, no password. */
export class MariaDbServer extends PrivateServer {
  constructor(
    directory: string,
    port: number,
    private readonly program: string,
    private readonly options: MariaDbServerOptions,
  ) {
    super('MariaDB', directory, port);
  }

  /** The address of the database `test`; `createDatabase()` gives one of your own. */
  get url(): string {
    return this.urlOf('test');
  }

  urlOf(database: string): string {
    return `mysql://root@${this.host}:${this.port}/${database}`;
  }

  /** Creates an empty database and returns its address. */
  async createDatabase(name: string): Promise<string> {
    await this.execute(`CREATE DATABASE \`${name}\``);
    return this.urlOf(name);
  }

  async dropDatabase(name: string): Promise<void> {
    await this.execute(`DROP DATABASE IF EXISTS \`${name}\``);
  }

  /** Runs one statement on a connection of its own, as root. */
  async execute(sql: string): Promise<Record<string, unknown>[]> {
    const connection = await createConnection(this.urlOf(''));
    try {
      const [rows] = await connection.query<RowDataPacket[]>(sql);
      return rows;
    } finally {
      await connection.end();
    }
  }

  /** Creates the data directory. */
  async initialize(): Promise<void> {
    const args = ['--auth-root-authentication-method=normal', '--innodb-log-file-size=16M', '--skip-log-bin'];
    await run(
      'mariadb-install-db',
      [
        '--no-defaults',
        `--datadir=${this.dataDirectory}`,
        `--tmpdir=${this.directory}`,
        ...args,
        ...asRoot(),
      ],
      {
        cwd: this.directory,
      },
    );
  }

  protected launch(): Promise<SupervisedProcess> {
    const settings = {
      datadir: this.dataDirectory,
      // Of its own: two that start in one folder remove each other's temporary tables.
      tmpdir: this.directory,
      socket: join(this.directory, 'socket'),
      'pid-file': join(this.directory, 'pid'),
      port: this.port,
      'bind-address': this.host,
      'character-set-server': 'utf8mb4',
      'default-time-zone': '+00:00',
      'innodb-buffer-pool-size': '64M',
      'innodb-log-file-size': '16M',
      'innodb-use-native-aio': 'OFF',
      'innodb-flush-log-at-trx-commit': this.options.durable ? 1 : 2,
      'max-connections': 200,
      'skip-name-resolve': 'ON',
      ...this.options.settings,
    };
    return SupervisedProcess.start({
      command: this.program,
      args: [
        '--no-defaults',
        ...Object.entries(settings).map(([name, value]) => `--${name}=${value}`),
        ...asRoot(),
      ],
      logFile: this.logFile,
      directory: this.directory,
    });
  }

  protected async probe(): Promise<void> {
    await this.execute('CREATE DATABASE IF NOT EXISTS test');
  }

  protected quit(process: SupervisedProcess): void {
    process.signal('SIGTERM');
  }

  private get dataDirectory(): string {
    return join(this.directory, 'data');
  }
}

/** MariaDB runs as root only when it is told to. */
function asRoot(): string[] {
  return process.getuid?.() === 0 ? ['--user=root'] : [];
}

/** Starts a private MariaDB; the caller stops it. */
export async function startMariaDb(options: MariaDbServerOptions = {}): Promise<MariaDbServer> {
  const program = await requireProgram(MARIADB_PROGRAM);
  const directory = await makeServerDirectory('mariadb');
  const server = new MariaDbServer(directory, await freePort(), program, options);
  await server.initialize();
  await server.start();
  return server;
}
