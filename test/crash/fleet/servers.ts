import { randomUUID } from 'node:crypto';

import { startMariaDb } from '../../support/mariadb-server';
import { startPostgres } from '../../support/postgres-server';
import { startRabbitMq } from '../../support/rabbitmq-server';
import type { TestDatabaseType } from '../../support/shared-servers';

/** What can be done to a server that belongs to the campaign. */
export interface Killable {
  kill(): Promise<void>;
  restart(): Promise<void>;
}

/** The database and the broker of one campaign. */
export interface Servers {
  readonly database: { readonly type: TestDatabaseType; readonly url: string; readonly own: Killable | null };
  readonly broker: { readonly url: string; readonly own: Killable | null };
  /** What is declared so far survives a SIGKILL of the broker. */
  syncTopology(): Promise<void>;
  stop(): Promise<void>;
}

/** Addresses of somebody else's servers. They are used, and never killed. */
export interface GivenServers {
  readonly databaseUrl: string | undefined;
  readonly rabbitMqUrl: string | undefined;
}

export const typeOfUrl = (url: string): TestDatabaseType =>
  new URL(url).protocol.startsWith('postgres') ? 'postgres' : 'mysql';

/** Starts private servers, except where an address is given. */
export async function openServers(type: TestDatabaseType, given: GivenServers): Promise<Servers> {
  const name = `crash_${randomUUID().replaceAll('-', '')}`;
  const [database, broker] = await Promise.all([
    given.databaseUrl === undefined ? (type === 'postgres' ? startPostgres() : startMariaDb()) : null,
    given.rabbitMqUrl === undefined ? startRabbitMq() : null,
  ]);
  return {
    database: { type, url: (await database?.createDatabase(name)) ?? given.databaseUrl!, own: database },
    broker: { url: broker?.url ?? given.rabbitMqUrl!, own: broker },
    syncTopology: async () => broker?.syncTopology(),
    stop: async () => {
      await Promise.all([database?.stop(), broker?.stop()]);
    },
  };
}
