import { OutboxConfigurationError } from './core/errors';
import type { TransportDefinition } from './core/transport.port';
import { OUTBOX_DEFAULTS, type OutboxModuleOptions, type ResolvedOutboxOptions } from './outbox.options';

/** Puts the defaults in, and refuses what cannot work. */
export function resolveOutboxOptions(given: OutboxModuleOptions): ResolvedOutboxOptions {
  const role = given.role ?? OUTBOX_DEFAULTS.role;
  const transports = namedTransports(given.transport);
  const resolved: ResolvedOutboxOptions = {
    role,
    transports,
    defaultTransport: Object.keys(transports)[0] ?? null,
    source: given.source ?? OUTBOX_DEFAULTS.source,
    onDeadLetter: given.onDeadLetter ?? OUTBOX_DEFAULTS.onDeadLetter,
    alarm: given.alarm,
    escapedWrites: given.escapedWrites ?? OUTBOX_DEFAULTS.escapedWrites,
    connectionWaitMs: given.connectionWaitMs ?? OUTBOX_DEFAULTS.connectionWaitMs,
    preparedStatements: given.preparedStatements ?? OUTBOX_DEFAULTS.preparedStatements,
    payloadSizeMaxBytes: given.payloadSizeMaxBytes ?? OUTBOX_DEFAULTS.payloadSizeMaxBytes,
    codec: given.codec ?? null,
    acceptLoss: given.acceptLoss ?? OUTBOX_DEFAULTS.acceptLoss,
    relay: withDefaults('relay', given.relay, OUTBOX_DEFAULTS.relay),
    retry: withDefaults('retry', given.retry, OUTBOX_DEFAULTS.retry),
    retention: withDefaults('retention', given.retention, OUTBOX_DEFAULTS.retention),
    idempotency: withDefaults('idempotency', given.idempotency, {
      ...OUTBOX_DEFAULTS.idempotency,
      retryDelaysMs: [...OUTBOX_DEFAULTS.idempotency.retryDelaysMs],
    }),
    tables: withDefaults('tables', given.tables, OUTBOX_DEFAULTS.tables),
  };
  refuseUnknown(
    '',
    given,
    [...Object.keys(resolved), 'transport'].filter(
      (name) => name !== 'transports' && name !== 'defaultTransport',
    ),
  );
  validate(resolved, given);
  return resolved;
}

function namedTransports(given: OutboxModuleOptions['transport']): Record<string, TransportDefinition> {
  if (given === undefined) return {};
  return isDefinition(given) ? { default: given } : { ...given };
}

function isDefinition(
  given: TransportDefinition | Record<string, TransportDefinition>,
): given is TransportDefinition {
  return typeof (given as TransportDefinition).create === 'function';
}

function withDefaults<Defaults extends object>(
  path: string,
  given: object | undefined,
  defaults: Defaults,
): never {
  if (given !== undefined) refuseUnknown(`${path}.`, given, Object.keys(defaults));
  const set = Object.fromEntries(Object.entries(given ?? {}).filter(([, value]) => value !== undefined));
  return { ...defaults, ...set } as never;
}

/** A misspelt option would be ignored in silence: the compiler does not see those that come from a factory. */
function refuseUnknown(prefix: string, given: object, known: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (!known.includes(name)) {
      throw new OutboxConfigurationError(prefix + name, `is no option. Known here: ${known.join(', ')}.`);
    }
  }
}

function validate(options: ResolvedOutboxOptions, given: OutboxModuleOptions): void {
  const { relay, retry, retention, idempotency } = options;
  oneOf('role', options.role, ['full', 'publisher', 'relay', 'consumer']);
  oneOf('onDeadLetter', options.onDeadLetter, ['park', 'skip']);
  oneOf('escapedWrites', options.escapedWrites, ['log', 'error', 'ignore']);
  oneOf('preparedStatements', String(options.preparedStatements), ['auto', 'true', 'false']);
  if (options.role !== 'consumer' && options.defaultTransport === null) {
    throw new OutboxConfigurationError(
      'transport',
      "is missing. Give one, e.g. transport: rabbitMq({ exchange: 'shop' }) from 'nestjs-outbox/rabbitmq', or " +
        "inProcess() from 'nestjs-outbox/in-process'; or set role: 'consumer' where nothing is published.",
    );
  }
  for (const name of Object.keys(options.transports)) {
    if (Buffer.byteLength(name) > 63)
      throw new OutboxConfigurationError('transport', `the name ${name} is longer than 63 bytes.`);
  }
  const counts: Record<string, number> = {
    'relay.claimSizeMax': relay.claimSizeMax,
    'relay.inFlightMax': relay.inFlightMax,
    'relay.queueSizeMax': relay.queueSizeMax,
    'relay.completionSizeMax': relay.completionSizeMax,
    'relay.connections': relay.connections,
    'retry.attemptsMax': retry.attemptsMax,
    'retry.claimsMax': retry.claimsMax,
    'retention.batchSizeMax': retention.batchSizeMax,
    'idempotency.attemptsMax': idempotency.attemptsMax,
    'idempotency.transientAttemptsMax': idempotency.transientAttemptsMax,
    payloadSizeMaxBytes: options.payloadSizeMaxBytes,
  };
  for (const [name, value] of Object.entries(counts)) number(name, value, 1, true);
  const durations: Record<string, number> = {
    'relay.leaseMs': relay.leaseMs,
    'relay.intervalMs': relay.intervalMs,
    'relay.idleIntervalMaxMs': relay.idleIntervalMaxMs,
    'relay.sweepIntervalMs': relay.sweepIntervalMs,
    'relay.probeIntervalMs': relay.probeIntervalMs,
    'retention.intervalMs': retention.intervalMs,
    'retention.sentMs': retention.sentMs,
    'retention.inboxMs': retention.inboxMs,
    'idempotency.duplicateWaitMs': idempotency.duplicateWaitMs,
    connectionWaitMs: options.connectionWaitMs,
  };
  for (const [name, value] of Object.entries(durations)) number(name, value, 1, false);
  number('relay.completionDelayMs', relay.completionDelayMs, 0, false);
  number('relay.notifyDelayMs', relay.notifyDelayMs, 0, false);
  number('relay.shutdownTimeoutMs', relay.shutdownTimeoutMs, 0, false);
  number('retry.delayMs', retry.delayMs, 0, false);
  number('retry.factor', retry.factor, 1, false);
  number('retry.delayMaxMs', retry.delayMaxMs, retry.delayMs, false);
  if (retention.deadLetterMs !== null) number('retention.deadLetterMs', retention.deadLetterMs, 1, false);
  const alarmMs = relay.leaseMs + relay.sweepIntervalMs;
  if (retention.deadLetterMs !== null && retention.deadLetterMs <= alarmMs) {
    throw new OutboxConfigurationError(
      'retention.deadLetterMs',
      `is ${retention.deadLetterMs} ms, and the alarm of a dead letter whose process died may ring ${alarmMs} ms later ` +
        '(relay.leaseMs and relay.sweepIntervalMs): it would be deleted unheard. Keep dead letters longer than that.',
    );
  }
  number('retry.jitter', retry.jitter, 0, false);
  if (retry.jitter > 1)
    throw new OutboxConfigurationError('retry.jitter', `is ${retry.jitter}; give a share from 0 to 1.`);
  if (given.relay?.cron !== undefined && given.relay.intervalMs !== undefined) {
    throw new OutboxConfigurationError(
      'relay.cron',
      'and relay.intervalMs exclude each other. Leave one out.',
    );
  }
  if (idempotency.retryDelaysMs.length === 0) {
    throw new OutboxConfigurationError(
      'idempotency.retryDelaysMs',
      'is empty. Give one delay at least, e.g. [1000].',
    );
  }
  idempotency.retryDelaysMs.forEach((delay, index) => {
    number(`idempotency.retryDelaysMs[${index}]`, delay, 1, false);
  });
  const redeliveryMs = retriesLastMs(idempotency);
  if (retention.inboxMs <= redeliveryMs) {
    throw new OutboxConfigurationError(
      'retention.inboxMs',
      `is ${retention.inboxMs} ms, and by idempotency.retryDelaysMs a message can still be redelivered after ` +
        `${redeliveryMs} ms: it would be handled twice. Keep the inbox longer than that.`,
    );
  }
}

/** How long after its first delivery a message can be delivered for the last time, by our own retries. */
function retriesLastMs(idempotency: ResolvedOutboxOptions['idempotency']): number {
  const delays = idempotency.retryDelaysMs;
  let total = 0;
  for (let retry = 0; retry < idempotency.attemptsMax - 1; retry += 1) {
    total += delays[Math.min(retry, delays.length - 1)] ?? 0;
  }
  return total;
}

function number(option: string, value: number, least: number, whole: boolean): void {
  if (
    typeof value !== 'number' ||
    !Number.isFinite(value) ||
    value < least ||
    (whole && !Number.isInteger(value))
  ) {
    throw new OutboxConfigurationError(
      option,
      `is ${String(value)}; give a ${whole ? 'whole ' : ''}number of at least ${least}.`,
    );
  }
}

function oneOf(option: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value)) {
    throw new OutboxConfigurationError(
      option,
      `is '${value}'; give one of ${allowed.map((name) => `'${name}'`).join(', ')}.`,
    );
  }
}
