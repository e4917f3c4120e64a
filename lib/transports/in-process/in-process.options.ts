import { OutboxConfigurationError } from '../../core/errors';

/** What becomes of a message that no handler is bound for: see `InProcessOptions.unroutable`. */
export type UnroutablePolicy = 'retry' | 'deadLetter' | 'accept';

export type InProcessExchangeType = 'topic' | 'direct' | 'fanout';

/** Options of `inProcess()`. */
export interface InProcessOptions {
  /** Where messages go that name no destination. @default '*' (to the handlers of all exchanges) */
  exchange?: string;
  /** Types of exchanges. @default those of RabbitMQModule, where it is imported, or else 'topic' */
  exchanges?: Readonly<Record<string, InProcessExchangeType>>;
  /**
   * What becomes of a message that no handler is bound for: for all types, or by type, with `default` for the others.
   * Here all handlers are known when the application starts, so none will come later as with a broker: `accept` counts
   * the message as sent, and warns once for each type, unless `accept` was asked for. `retry` and `deadLetter` refuse it.
   * @default 'accept'
   */
  unroutable?: UnroutablePolicy | Readonly<Record<string, UnroutablePolicy>>;
  /** Messages that handlers have at one time. @default 16 */
  concurrencyMax?: number;
  /** Messages that the handlers of one queue have at one time. @default RabbitMQModule's prefetchCount, or else 10 */
  prefetch?: number;
  /** Whether handlers in controllers count. @default RabbitMQModule's enableControllerDiscovery, or else true */
  controllers?: boolean;
  /** Payload to what handlers get, where the handler has no deserializer of its own. @default RabbitMQModule's, or else JSON */
  deserializer?: (content: Buffer) => unknown;
  /** At shutdown, so long for handlers that still run. @default 10000 */
  stopTimeoutMs?: number;
}

/** The options, with every default in its place that does not depend on the application. */
export interface ResolvedInProcessOptions {
  readonly exchange: string;
  readonly exchanges: Readonly<Record<string, InProcessExchangeType>>;
  readonly unroutable: (type: string) => UnroutablePolicy | 'unasked';
  readonly concurrencyMax: number;
  readonly prefetch: number | undefined;
  readonly controllers: boolean | undefined;
  readonly deserializer: InProcessOptions['deserializer'];
  readonly stopTimeoutMs: number;
}

/** Stands for all exchanges, in a destination. */
export const EVERY_EXCHANGE = '*';

export const IN_PROCESS_DEFAULTS = {
  exchange: EVERY_EXCHANGE,
  concurrencyMax: 16,
  prefetch: 10,
  stopTimeoutMs: 10_000,
} as const;

const KNOWN: Readonly<Record<keyof InProcessOptions, true>> = {
  exchange: true,
  exchanges: true,
  unroutable: true,
  concurrencyMax: true,
  prefetch: true,
  controllers: true,
  deserializer: true,
  stopTimeoutMs: true,
};

/** Puts the defaults in, and refuses what cannot work. */
export function resolveInProcessOptions(given: InProcessOptions): ResolvedInProcessOptions {
  for (const name of Object.keys(given)) {
    if (!(name in KNOWN)) fail(name, `is no option. Known here: ${Object.keys(KNOWN).join(', ')}.`);
  }
  const exchange = given.exchange ?? IN_PROCESS_DEFAULTS.exchange;
  if (typeof exchange !== 'string' || exchange === '' || exchange.includes('/')) {
    fail('exchange', "must be the name of an exchange, without '/'.");
  }
  for (const [name, type] of Object.entries(given.exchanges ?? {})) {
    if (!isExchangeType(type))
      fail(`exchanges.${name}`, `is '${String(type)}'; give 'topic', 'direct' or 'fanout'.`);
  }
  return {
    exchange,
    exchanges: given.exchanges ?? {},
    unroutable: unroutableLookup(given.unroutable),
    concurrencyMax: whole('concurrencyMax', given.concurrencyMax ?? IN_PROCESS_DEFAULTS.concurrencyMax, 1),
    prefetch: given.prefetch === undefined ? undefined : whole('prefetch', given.prefetch, 1),
    controllers: given.controllers,
    deserializer: given.deserializer,
    stopTimeoutMs: whole('stopTimeoutMs', given.stopTimeoutMs ?? IN_PROCESS_DEFAULTS.stopTimeoutMs, 0),
  };
}

export function isExchangeType(type: string): type is InProcessExchangeType {
  return type === 'topic' || type === 'direct' || type === 'fanout';
}

function unroutableLookup(given: InProcessOptions['unroutable']): ResolvedInProcessOptions['unroutable'] {
  if (given === undefined) return () => 'unasked';
  if (typeof given === 'string') {
    const policy = policyOf('unroutable', given);
    return () => policy;
  }
  const byType = new Map(
    Object.entries(given).map(([type, policy]) => [type, policyOf(`unroutable.${type}`, policy)]),
  );
  const otherwise = byType.get('default') ?? 'unasked';
  return (type) => byType.get(type) ?? otherwise;
}

function policyOf(option: string, policy: UnroutablePolicy): UnroutablePolicy {
  if (!['retry', 'deadLetter', 'accept'].includes(policy)) {
    fail(option, `is '${String(policy)}'; give 'retry', 'deadLetter' or 'accept'.`);
  }
  return policy;
}

function whole(option: string, value: number, least: number): number {
  if (!Number.isSafeInteger(value) || value < least)
    fail(option, `is ${String(value)}; give a whole number of at least ${least}.`);
  return value;
}

function fail(option: string, message: string): never {
  throw new OutboxConfigurationError(`inProcess.${option}`, message);
}
