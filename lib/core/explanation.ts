import { type MessageRecord } from './message';

/** Why a message is not sent yet, or what became of it: `text` for people, `reason` and its fields for programs. */
export type Explanation = NotFound | TransactionOpen | Finished | DeadLetterKept | Waiting;

interface Explained {
  /** As it was asked for. */
  readonly id: string;
  /** The answer as one to three sentences, with what to do about it. */
  readonly text: string;
}

interface Found extends Explained {
  /** The row, without its payload. */
  readonly message: MessageRecord;
}

/** No committed row: its transaction is still open in another process, or was rolled back, or the row was purged. */
export interface NotFound extends Explained {
  readonly reason: 'not-found';
}

/** It was published in this very process, and its transaction is still open. */
export interface TransactionOpen extends Explained {
  readonly reason: 'transaction-open';
  /** The transaction's name, e.g. `OrdersService.place`. */
  readonly transaction: string;
}

/** Nobody will send it, again or at all: the broker has it, a person discarded it, or it expired. */
export interface Finished extends Found {
  readonly reason: 'sent' | 'consumed' | 'cancelled';
  readonly at: Date | null;
}

/** Given up on, and kept for a person. */
export interface DeadLetterKept extends Found {
  readonly reason: 'dead-letter';
  readonly error: string | null;
  readonly since: Date | null;
  /** Later messages of its key that it holds back. */
  readonly waiting: number;
}

/** It is unsent, and will be sent when what it waits for is over. */
export type Waiting = WaitingByItself | WaitingForLease | WaitingForKey | WaitingForTransport;

interface Unsent extends Found {
  /** Its transport, as this process sees it. Other processes may send while this one does not. */
  readonly transport: TransportState;
}

/**
 * - `delayed`: published with `delayMs`.
 * - `backing-off`: refused (`attempts` of its record), or given back unsent by whoever had it.
 * - `expired`: no relay takes it any more; the next sweep cancels it.
 * - `quarantine`: no relay takes it any more; the next sweep makes a dead letter of it.
 * - `promotion`: nothing of its key holds it any more; a relay's next look at the key, or its sweep, makes it due.
 * - `prepared`: it waits for the application's word.
 * - `due`: a relay takes it at its next look at the table.
 */
export interface WaitingByItself extends Unsent {
  readonly reason: 'delayed' | 'backing-off' | 'expired' | 'quarantine' | 'promotion' | 'prepared' | 'due';
  /** Milliseconds until a relay may take it, by the database's clock; 0 when its time has come. */
  readonly dueInMs: number;
  /** Of its last attempt. */
  readonly error: string | null;
}

/** A process holds it, and is sending it or has died; when the lease ends, any relay may take it. */
export interface WaitingForLease extends Unsent {
  readonly reason: 'leased';
  /** `claimed_by` of the row: host, process id, and a part by chance. */
  readonly by: string;
  readonly isThisProcess: boolean;
  /** Milliseconds that are left of the lease, by the database's clock. */
  readonly leaseLeftMs: number;
}

/**
 * - `behind`: earlier messages of its key go first.
 * - `parked`: a dead letter is among them, and holds its key until a person redrives or discards it.
 */
export interface WaitingForKey extends Unsent {
  readonly reason: 'behind' | 'parked';
  /** What holds it: the first message of its key that is unsent; when parked, the first dead letter. */
  readonly holder: MessageRecord;
  /** How many messages of its key go before it. */
  readonly ahead: number;
}

/**
 * It is due, and this process does not send it; another relay may.
 * - `transport-paused`: by `pause()`; `transport-unreachable`: the broker does not answer, and is probed.
 * - `transport-unknown`: this process sends, and has no transport of that name.
 */
export interface WaitingForTransport extends Unsent {
  readonly reason: 'transport-paused' | 'transport-unreachable' | 'transport-unknown';
}

/** `idle`: this process does not send at all: its role is another one, or it is starting, or shutting down. */
export type TransportState = 'open' | 'paused' | 'unreachable' | 'unknown' | 'idle';
