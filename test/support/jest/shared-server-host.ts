import { randomUUID } from 'node:crypto';
import { type Server, createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { type MariaDbServer, startMariaDb } from '../mariadb-server';
import { type PostgresServer, startPostgres } from '../postgres-server';
import { type RabbitMqServer, startRabbitMq } from '../rabbitmq-server';

const VHOST_BATCH = 8;

/**
 * Lives in jest's main process and starts each shared server when the first spec asks for it, so that a run
 * of unit tests starts none. Specs run in other processes and ask over HTTP.
 */
export class SharedServerHost {
  private readonly postgres = once(startPostgres);
  private readonly mariadb = once(startMariaDb);
  private readonly rabbitmq = once(startRabbitMq);
  private readonly spareVhosts: string[] = [];
  private refill: Promise<void> | undefined;
  private http: Server | undefined;

  /** Begins to listen and returns the address to ask at. */
  async listen(): Promise<string> {
    this.http = createServer((request, response) => {
      this.answer(request.url ?? '').then(
        (body) => response.writeHead(200, { connection: 'close' }).end(body),
        (error: unknown) => response.writeHead(500, { connection: 'close' }).end(messageOf(error)),
      );
    });
    const { http } = this;
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  }

  /** Stops everything that was started. */
  async close(): Promise<void> {
    this.http?.close();
    this.http?.closeAllConnections();
    await Promise.all([this.postgres, this.mariadb, this.rabbitmq].map((server) => server.stop()));
  }

  private async answer(path: string): Promise<string> {
    switch (path) {
      case '/postgres':
        return process.env.TEST_POSTGRES_URL ?? (await this.postgres.start()).url;
      case '/mysql':
        return process.env.TEST_MARIADB_URL ?? (await this.mariadb.start()).url;
      case '/rabbitmq':
        return process.env.TEST_RABBITMQ_URL ?? (await this.rabbitmq.start()).url;
      case '/rabbitmq/vhost':
        return process.env.TEST_RABBITMQ_URL ?? this.takeVhost(await this.rabbitmq.start());
      default:
        throw new Error(`There is no shared server at ${path}`);
    }
  }

  /** `rabbitmqctl` costs a second or two, so vhosts are made several at a time. */
  private async takeVhost(server: RabbitMqServer): Promise<string> {
    for (;;) {
      const vhost = this.spareVhosts.pop();
      if (vhost) return server.urlOf(vhost);
      this.refill ??= this.createVhosts(server).finally(() => (this.refill = undefined));
      await this.refill;
    }
  }

  private async createVhosts(server: RabbitMqServer): Promise<void> {
    const names = Array.from({ length: VHOST_BATCH }, () => `test-${randomUUID()}`);
    await server.createVhosts(names);
    this.spareVhosts.push(...names);
  }
}

/** A server that is started at most once, and stopped when it was started. */
function once<T extends PostgresServer | MariaDbServer | RabbitMqServer>(startServer: () => Promise<T>) {
  let started: Promise<T> | undefined;
  return {
    start: () => (started ??= startServer()),
    stop: async () => (await started?.catch(() => undefined))?.stop(),
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
