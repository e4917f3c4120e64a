import type { OutboxModuleOptions } from 'nestjs-outbox';
import type { TestDatabase } from '../../support/shared-servers';

/**
 * One process of an application, for tests that kill it. It is told what to do, and tells what it did, by messages
 * between the processes; `killAt` names the line at which it kills itself, as a power failure would.
 */
export interface ProcessTask {
  readonly database: Pick<TestDatabase, 'type' | 'url'>;
  readonly rabbitMqUrl: string;
  readonly role: NonNullable<OutboxModuleOptions['role']>;
  readonly consumes: boolean;
  readonly killAt: CrashPoint | typeof BEFORE_ALARM | null;
  readonly leaseMs: number;
  /** A message without a queue is a dead letter at once. @default it is tried again */
  readonly refusesUnroutable?: boolean;
}

export const CRASH_POINTS = [
  'after the row, before COMMIT',
  'after COMMIT, before the hand-over',
  'after the hand-over, before the send',
  'after the send, before the confirmation is seen',
  'after the confirmation, before it is written down',
  'after it is written down',
  'in shutdown',
] as const;
/** No order takes effect then: a spec of its own is about it. */
export const BEFORE_ALARM = 'after a dead letter is written down, before its alarm';
export type CrashPoint = (typeof CRASH_POINTS)[number];

export type ProcessCommand =
  | { readonly do: 'place'; readonly ids: readonly string[]; readonly customerId: string }
  | { readonly do: 'flush' }
  /** It sends nothing until it is told to resume. */
  | { readonly do: 'pause' | 'resume' }
  | { readonly do: 'stats' }
  | { readonly do: 'close' };
