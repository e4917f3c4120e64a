import type { LogLevel } from '@nestjs/common';
import { resolve } from 'node:path';

import { ShopError } from './shop.error';

/** What the environment says. */
export interface ShopConfig {
  /** 0: any free one. */
  readonly port: number;
  /** Where the data lives; without it, an embedded PostgreSQL is started. */
  readonly databaseUrl: string | undefined;
  /** Where the embedded PostgreSQL keeps its files. */
  readonly dataDirectory: string;
  /** The broker; without it, messages go from module to module inside this process. */
  readonly rabbitmqUrl: string | undefined;
  readonly logLevels: LogLevel[];
}

/** From loud to quiet; each level brings those after it. */
const LOG_LEVELS: readonly LogLevel[] = ['verbose', 'debug', 'log', 'warn', 'error', 'fatal'];

export function readConfig(env: NodeJS.ProcessEnv): ShopConfig {
  return {
    port: readPort(env.PORT || '3000'),
    databaseUrl: readUrl(env, 'DATABASE_URL', ['postgres:', 'postgresql:', 'mysql:', 'mariadb:']),
    dataDirectory: resolve(env.SHOP_DATA_DIR || '.data'),
    rabbitmqUrl: readUrl(env, 'RABBITMQ_URL', ['amqp:', 'amqps:']),
    logLevels: readLogLevels(env.SHOP_LOG || 'warn'),
  };
}

function readPort(value: string): number {
  const port = Number(value);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new ShopError(`PORT is "${value}"; give a number from 0 to 65535`);
  }
  return port;
}

function readUrl(env: NodeJS.ProcessEnv, name: string, protocols: readonly string[]): string | undefined {
  const value = env[name];
  if (!value) return undefined;
  // The value itself is not repeated: there may be a password in it.
  if (!URL.canParse(value) || !protocols.includes(new URL(value).protocol)) {
    throw new ShopError(`${name} is not the address of a server; it begins with ${protocols[0]}//`);
  }
  return value;
}

function readLogLevels(value: string): LogLevel[] {
  const from = LOG_LEVELS.findIndex((level) => level === value);
  if (from < 0) throw new ShopError(`SHOP_LOG is "${value}"; give one of ${LOG_LEVELS.join(', ')}`);
  return LOG_LEVELS.slice(from);
}
