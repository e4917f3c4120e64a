import { randomUUID } from 'node:crypto';
import { get } from 'node:http';
import { createConnection } from 'mysql2/promise';
import { Client } from 'pg';

export type TestDatabaseType = 'postgres' | 'mysql';

/** An empty database that only one spec knows of. Spread `{ type, url }` into TypeORM's options. */
export interface TestDatabase {
  readonly type: TestDatabaseType;
  readonly url: string;
  readonly name: string;
  /** Drops it, and with it whoever is still connected. */
  drop(): Promise<void>;
}

/** A RabbitMQ virtual host that only one spec knows of. */
export interface TestVhost {
  readonly url: string;
  readonly name: string;
}

/** The address of the PostgreSQL that all specs of this run share, started when first asked for. */
export function postgresUrl(): Promise<string> {
  return ask('/postgres');
}

/** The address of the MariaDB that all specs of this run share, started when first asked for. */
export function mariadbUrl(): Promise<string> {
  return ask('/mysql');
}

/** The address of the RabbitMQ that all specs of this run share, started when first asked for. */
export function rabbitmqUrl(): Promise<string> {
  return ask('/rabbitmq');
}

/**
 * A fresh virtual host of the shared RabbitMQ. Where TEST_RABBITMQ_URL names a broker of somebody else, it is
 * that address, unchanged.
 */
export async function createVhost(): Promise<TestVhost> {
  const url = await ask('/rabbitmq/vhost');
  return { url, name: decodeURIComponent(new URL(url).pathname.slice(1)) || '/' };
}

/** A fresh database of a shared server: PostgreSQL, or MariaDB for `mysql`. */
export async function createTestDatabase(type: TestDatabaseType): Promise<TestDatabase> {
  const serverUrl = await ask(`/${type}`);
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  const [create, drop] =
    type === 'postgres'
      ? [`CREATE DATABASE "${name}"`, `DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`]
      : [`CREATE DATABASE \`${name}\``, `DROP DATABASE IF EXISTS \`${name}\``];
  const execute = type === 'postgres' ? executeOnPostgres : executeOnMysql;
  await execute(serverUrl, create);
  return { type, name, url: url.href, drop: () => execute(serverUrl, drop) };
}

async function executeOnPostgres(url: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query(sql).finally(() => client.end());
}

async function executeOnMysql(url: string, sql: string): Promise<void> {
  const connection = await createConnection(url);
  await connection.query(sql).finally(() => connection.end());
}

/** Asks jest's main process, which starts the server if need be. */
function ask(path: string): Promise<string> {
  const host = process.env.TEST_SHARED_SERVERS;
  if (!host)
    throw new Error('Shared servers exist only while jest runs with the configuration of this repository');
  return new Promise((resolve, reject) => {
    get(host + path, { agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (body += chunk));
      response.on('error', reject);
      response.on('end', () => (response.statusCode === 200 ? resolve(body) : reject(new Error(body))));
    }).on('error', reject);
  });
}
