import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { postgresBinaries } from './postgres-binaries';
import { freePort } from './process/free-port';
import { PrivateServer, makeServerDirectory } from './process/private-server';
import { SupervisedProcess } from './process/supervised-process';
import { type UnprivilegedUser, unprivilegedUser } from './process/unprivileged-user';

const run = promisify(execFile);

export interface PostgresServerOptions {
  /** Syncs to disk as in production; without it a commit is not flushed, which no SIGKILL can tell. @default false */
  durable?: boolean;
  /** Further settings, as in postgresql.conf. */
  settings?: Record<string, string | number>;
}

/** A private PostgreSQL 18 on a free port of 127.0.0.1; user `postgres`, no password. */
export class PostgresServer extends PrivateServer {
  constructor(
    directory: string,
    port: number,
    private readonly binaries: string,
    private readonly user: UnprivilegedUser | undefined,
    private readonly options: PostgresServerOptions,
  ) {
    super('PostgreSQL', directory, port);
  }

  /** The address of the database `postgres`; `createDatabase()` gives one of your own. */
  get url(): string {
    return this.urlOf('postgres');
  }

  urlOf(database: string): string {
    return `postgres://postgres@${this.host}:${this.port}/${database}`;
  }

  /** Creates an empty database and returns its address. */
  async createDatabase(name: string): Promise<string> {
    await this.execute(`CREATE DATABASE "${name}"`);
    return this.urlOf(name);
  }

  /** Drops a database, and whoever is still connected to it. */
  async dropDatabase(name: string): Promise<void> {
    await this.execute(`DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`);
  }

  /** Runs one statement on a connection of its own, as superuser. */
  async execute(sql: string): Promise<Record<string, unknown>[]> {
    const client = new Client({ connectionString: this.url });
    // A server that is killed meanwhile reports it here as well as in the query.
    client.on('error', () => {});
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end();
    }
  }

  /** Creates the data directory. */
  async initialize(): Promise<void> {
    const args = [
      '-D',
      this.dataDirectory,
      '-U',
      'postgres',
      '-A',
      'trust',
      '-E',
      'UTF8',
      '--locale=C',
      '-N',
    ];
    await run(join(this.binaries, 'bin', 'initdb'), args, { cwd: this.directory, ...this.user });
  }

  protected launch(): Promise<SupervisedProcess> {
    // synchronous_commit stays on: a commit must have left the process, or a SIGKILL would lose it.
    const durability = this.options.durable ? {} : { fsync: 'off', full_page_writes: 'off' };
    const settings = {
      listen_addresses: this.host,
      port: this.port,
      unix_socket_directories: '',
      max_connections: 200,
      shared_buffers: '64MB',
      timezone: 'UTC',
      ...durability,
      ...this.options.settings,
    };
    return SupervisedProcess.start({
      command: join(this.binaries, 'bin', 'postgres'),
      args: [
        '-D',
        this.dataDirectory,
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      logFile: this.logFile,
      directory: this.directory,
      ...this.user,
    });
  }

  protected async probe(): Promise<void> {
    await this.execute('SELECT 1');
  }

  /** SIGINT is PostgreSQL's fast shutdown: it ends the sessions instead of waiting for them. */
  protected quit(process: SupervisedProcess): void {
    process.signal('SIGINT');
  }

  private get dataDirectory(): string {
    return join(this.directory, 'data');
  }
}

/** Starts a private PostgreSQL; the caller stops it. */
export async function startPostgres(options: PostgresServerOptions = {}): Promise<PostgresServer> {
  const user = unprivilegedUser();
  const binaries = await postgresBinaries(user);
  const directory = await makeServerDirectory('postgres', user);
  const server = new PostgresServer(directory, await freePort(), binaries, user, options);
  await server.initialize();
  await server.start();
  return server;
}
