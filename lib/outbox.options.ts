import type { OutboxEventMap } from './core/events';
import type { Codec } from './core/codec.port';
import type { TransportDefinition } from './core/transport.port';

/** What this process does with messages. */
export type OutboxRole = 'full' | 'publisher' | 'relay' | 'consumer';

/** Sending: the fast path and the resend job. */
export interface RelayOptions {
  /** Send at once after the commit, from memory. Off: every message waits for the resend job. @default true */
  fastPath?: boolean;
  /** How long a claim holds. Longer than any transport's send limit. @default 30000 */
  leaseMs?: number;
  /** Look at the table so often. Not together with `cron`. @default 1000 */
  intervalMs?: number;
  /** Look at the table by this cron expression (six fields, with seconds) instead of an interval. @default undefined */
  cron?: string;
  /** When nothing is due, the interval grows up to this. @default 5000 */
  idleIntervalMaxMs?: number;
  /** Rows of one claim. @default 500 */
  claimSizeMax?: number;
  /** Messages without an outcome, of both paths together, and of what is being claimed. @default 3000 */
  inFlightMax?: number;
  /** Messages that wait in memory for the fast path; what does not fit goes to the resend job. @default 10000 */
  queueSizeMax?: number;
  /** Rows of one statement that marks messages as sent. @default 500 */
  completionSizeMax?: number;
  /** How long a confirmation waits for others to share its statement. @default 5 */
  completionDelayMs?: number;
  /** Connections of the store's own pool, which is not the application's. @default 2 */
  connections?: number;
  /**
   * How long `NOTIFY`s to relays elsewhere are gathered into one (PostgreSQL), and, in a process that does not send, keys
   * whose messages wait behind one that is being sent elsewhere. @default 20
   */
  notifyDelayMs?: number;
  /** Whether relays listen for `NOTIFY` (PostgreSQL). Off behind a transaction pooler. @default true */
  listen?: boolean;
  /**
   * How often blocked rows whose predecessor is gone, and rows that kill their sender, are looked for. Dead letters whose
   * alarm nobody has heard: this often, or each third of `leaseMs`, whichever is longer. @default 5000
   */
  sweepIntervalMs?: number;
  /** How long an unreachable broker is left alone before the next probe; doubled up to thirty times this. @default 1000 */
  probeIntervalMs?: number;
  /** At shutdown, so long for what is in flight. @default 10000 */
  shutdownTimeoutMs?: number;
}

/** What happens after a refusal. */
export interface RetryOptions {
  /** Refusals until a message is a dead letter. @default 10 */
  attemptsMax?: number;
  /** The first back-off. @default 1000 */
  delayMs?: number;
  /** Each back-off is so many times the one before. @default 2 */
  factor?: number;
  /** No back-off is longer. @default 300000 */
  delayMaxMs?: number;
  /** Each back-off is varied by up to this share, up and down. 0 to 1. @default 0.2 */
  jitter?: number;
  /** Takings without any outcome until a message is put into quarantine, as a dead letter. @default 5 */
  claimsMax?: number;
}

/** How long finished rows are kept. */
export interface RetentionOptions {
  /** Sent messages. @default 604800000 (7 days) */
  sentMs?: number;
  /** Dead letters; null: until a person decides. @default null */
  deadLetterMs?: number | null;
  /** Keys in the inbox. Longer than a message can still be redelivered. @default 1209600000 (14 days) */
  inboxMs?: number;
  /** How often the cleaner runs. @default 60000 */
  intervalMs?: number;
  /** Rows of one DELETE. @default 1000 */
  batchSizeMax?: number;
}

/** Consumers: `@Idempotent()`. */
export interface IdempotencyOptions {
  /** Failures until a message goes to the dead-letter queue. @default 5 */
  attemptsMax?: number;
  /** The delay before each retry, by attempt; the last one repeats. A queue is declared for each. @default [1000, 5000, 30000, 120000] */
  retryDelaysMs?: number[];
  /** How long a concurrent duplicate waits for the first one's outcome. @default 10000 */
  duplicateWaitMs?: number;
  /** Tries in a row when the database reports a deadlock or a serialization failure; they spend no attempt. @default 10 */
  transientAttemptsMax?: number;
}

/** Names of the tables. Must be those of the migrations. */
export interface TableOptions {
  /** The database schema (PostgreSQL) or database (MySQL). @default undefined (the connection's own) */
  schema?: string;
  /** Stands before every table's name. @default '' */
  prefix?: string;
}

/** Options of `OutboxModule.forRoot()`. Every default stands in this file. */
export interface OutboxModuleOptions {
  /**
   * `full`: publishes and sends. `publisher`: publishes only; its rows are born due for a relay elsewhere. `relay`: sends
   * only. `consumer`: an inbox and no outbox. @default 'full'
   */
  role?: OutboxRole;
  /** How messages leave: one transport, or several by name (the first is the default one). Needed unless the role is `consumer`. */
  transport?: TransportDefinition | Record<string, TransportDefinition>;
  /** The name of this application, kept with each message. @default null */
  source?: string | null;
  /** `park`: a dead letter holds its key's later messages. `skip`: they go on. @default 'park' */
  onDeadLetter?: 'park' | 'skip';
  /**
   * The alarm: called at least once for each message that becomes a dead letter, on the sending and on the consuming side.
   * On the sending side it is called again, by any process that sends, when it failed, had no outcome within
   * `relay.leaseMs`, or its process died: after `relay.leaseMs`, and then ever later, up to every five minutes. On the
   * consuming side the message's acknowledgement waits for it, up to five seconds. Where it is not given, the line in the
   * log is the alarm; so give it to all processes that send. @default undefined
   */
  alarm?: (
    event: OutboxEventMap['message.deadLetter'] | OutboxEventMap['inbox.deadLetter'],
  ) => void | Promise<void>;
  /** What to do when a write inside a transactional method goes past its transaction. @default 'log' */
  escapedWrites?: 'log' | 'error' | 'ignore';
  /** How long `propagation: 'requiresNew'` waits for a second connection. @default 5000 */
  connectionWaitMs?: number;
  /**
   * PostgreSQL and MariaDB: whether the statements that are sent most are prepared, so that the server reads and plans each of
   * them once for a connection. `auto` finds out at boot: not where a pooler stands in front of PostgreSQL, as most of them
   * lose prepared statements.
   * @default 'auto'
   */
  preparedStatements?: boolean | 'auto';
  /** The largest encoded payload. @default 1048576 (1 MiB) */
  payloadSizeMaxBytes?: number;
  /** Payload to bytes. @default JSON */
  codec?: Codec;
  /** Accept a transport that cannot confirm, and so loses messages. @default false */
  acceptLoss?: boolean;
  relay?: RelayOptions;
  retry?: RetryOptions;
  retention?: RetentionOptions;
  idempotency?: IdempotencyOptions;
  tables?: TableOptions;
}

/** The options, with every default in its place. */
export interface ResolvedOutboxOptions {
  readonly role: OutboxRole;
  readonly transports: Readonly<Record<string, TransportDefinition>>;
  readonly defaultTransport: string | null;
  readonly source: string | null;
  readonly onDeadLetter: 'park' | 'skip';
  readonly alarm: OutboxModuleOptions['alarm'];
  readonly escapedWrites: 'log' | 'error' | 'ignore';
  readonly connectionWaitMs: number;
  readonly preparedStatements: boolean | 'auto';
  readonly payloadSizeMaxBytes: number;
  readonly codec: Codec | null;
  readonly acceptLoss: boolean;
  readonly relay: Readonly<Required<Omit<RelayOptions, 'cron'>>> & { readonly cron: string | undefined };
  readonly retry: Readonly<Required<RetryOptions>>;
  readonly retention: Readonly<Required<RetentionOptions>>;
  readonly idempotency: Readonly<Required<IdempotencyOptions>>;
  readonly tables: { readonly schema: string | undefined; readonly prefix: string };
}

export const OUTBOX_DEFAULTS = {
  role: 'full',
  source: null,
  onDeadLetter: 'park',
  escapedWrites: 'log',
  connectionWaitMs: 5_000,
  preparedStatements: 'auto',
  payloadSizeMaxBytes: 1_048_576,
  acceptLoss: false,
  relay: {
    fastPath: true,
    leaseMs: 30_000,
    intervalMs: 1_000,
    cron: undefined,
    idleIntervalMaxMs: 5_000,
    claimSizeMax: 500,
    inFlightMax: 3_000,
    queueSizeMax: 10_000,
    completionSizeMax: 500,
    completionDelayMs: 5,
    connections: 2,
    notifyDelayMs: 20,
    listen: true,
    sweepIntervalMs: 5_000,
    probeIntervalMs: 1_000,
    shutdownTimeoutMs: 10_000,
  },
  retry: { attemptsMax: 10, delayMs: 1_000, factor: 2, delayMaxMs: 300_000, jitter: 0.2, claimsMax: 5 },
  retention: {
    sentMs: 604_800_000,
    deadLetterMs: null,
    inboxMs: 1_209_600_000,
    intervalMs: 60_000,
    batchSizeMax: 1_000,
  },
  idempotency: {
    attemptsMax: 5,
    retryDelaysMs: [1_000, 5_000, 30_000, 120_000],
    duplicateWaitMs: 10_000,
    transientAttemptsMax: 10,
  },
  tables: { schema: undefined, prefix: '' },
} as const;
