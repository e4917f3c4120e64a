import type { TestDatabaseType } from '../support/shared-servers';

/** What a process of the fleet does: two of each make a fleet. */
export type MemberKind = 'producer' | 'relay' | 'consumer';

/** Lines at which a process can be told to die. */
export const KILL_POINTS = [
  'after the row is inserted',
  'before COMMIT is sent',
  'when COMMIT is sent, before its answer',
  'after COMMIT, before the hand-over',
  'after the send, before the confirmation',
  'when the confirmation has come, before it is taken',
  'after the confirmation, before it is written down',
  'in a run, after a confirmation, before it is written down',
  'in a run, when a part of it is written down',
  'in the middle of a batch of completions',
  'after the completion, before the successor is promoted',
  'after the completion, before the successor is sent',
  'inside a handler',
  "after a handler's commit, before the ack",
  'in shutdown',
] as const;
export type KillPoint = (typeof KILL_POINTS)[number];

/** Guarantees that can be broken on purpose, to see that the checker notices: one for each of its counts, and more. */
export const BREAKAGES = [
  'the row is inserted after the commit',
  'the row is inserted outside of the transaction',
  'the inbox forgets',
  'messages count as confirmed when they are sent',
  'keys are ignored',
  'what is read ahead counts as sent',
  'the alarm is silent',
  'nothing is resent',
  'a connection is never given back',
] as const;
export type Breakage = (typeof BREAKAGES)[number];

/** What a process is started with. */
export interface MemberTask {
  /** Unique for each start: `relay-2#7`. */
  readonly name: string;
  readonly kind: MemberKind;
  /** A producer that also sends, at once after its commits; one that does not, leaves it to the relays. */
  readonly fastPath: boolean;
  readonly database: { readonly type: TestDatabaseType; readonly url: string };
  readonly rabbitMqUrl: string;
  readonly leaseMs: number;
  /** Where it writes down what it does: one JSON object a line. */
  readonly journal: string;
  /** So far this process's calendar is wrong. */
  readonly clockOffsetMs: number;
  readonly breakage: Breakage | null;
}

export type MemberCommand =
  /** Publishes until it is told to stop. */
  | { readonly do: 'produce'; readonly seed: number; readonly pauseMaxMs: number; readonly writers: number }
  | { readonly do: 'halt' }
  /** Dies at the n-th passage of that line from now on. */
  | { readonly do: 'arm'; readonly point: KillPoint; readonly passages: number }
  | { readonly do: 'disarm' }
  /** Sends all dead letters again. */
  | { readonly do: 'redrive' }
  /** Connections of the application's pool that somebody holds. */
  | { readonly do: 'connections' }
  /** Shuts down as Nest does, and ends by itself. */
  | { readonly do: 'close' };

/** Payload of every message of the campaign. */
export interface CampaignPayload {
  readonly id: string;
  readonly key: string | null;
  /** No handler ever takes it: it ends as a dead letter of each consumer. */
  readonly hopeless: boolean;
  readonly filler: string;
}

/** One line of a journal. `at`: nanoseconds of the machine's monotonic clock, the same for all processes. */
export type JournalLine = { readonly at: string; readonly by: string } & (
  | { readonly did: 'start' | 'ready' | 'close' }
  /** The work of the transaction is done; what follows is its commit. */
  | { readonly did: 'committing'; readonly transaction: string; readonly ids: readonly string[] }
  | { readonly did: 'committed' | 'rolled back'; readonly transaction: string }
  /** Nobody can tell from here whether it is committed. */
  | { readonly did: 'failed'; readonly transaction: string; readonly error: string }
  | { readonly did: 'alarm'; readonly id: string; readonly side: 'outbox' | 'inbox'; readonly error: string }
  | { readonly did: 'send'; readonly ids: readonly string[] }
  | { readonly did: 'settled'; readonly id: string; readonly outcome: string }
  | { readonly did: 'complete' | 'completed' | 'promoted'; readonly ids: readonly string[] }
  | { readonly did: 'handle' | 'handled' | 'handler failed'; readonly queue: string; readonly id: string }
  | { readonly did: 'die'; readonly point: KillPoint }
  | { readonly did: 'log' | 'fault'; readonly text: string }
);
