import type { Clock } from '../core/clock';
import { RelayError } from '../core/errors';
import type { OutboxStore } from '../core/outbox-store.port';
import type { HeldMessage } from './held-message';
import type { InHand } from './in-hand';
import type { KeyPromoter } from './key-promoter';
import type { Lane } from './lane';
import type { ReleaseBatcher } from './release-batcher';
import type { ResendJob } from './resend-job';
import { within } from './within';

/** How long before it looks again, when something due could not be sent. */
const RETRY_MS = 50;

export interface FlushParts {
  readonly store: Pick<OutboxStore, 'nextDueInMs'>;
  readonly lanes: readonly Lane[];
  readonly resendJob: ResendJob;
  readonly inHand: InHand;
  readonly promoter: KeyPromoter;
  readonly releases: ReleaseBatcher;
  readonly clock: Clock;
}

/**
 * Waits until what was committed before the call is through: what this process holds, what is due in the table, and, key
 * by key, what these were holding back. Messages that are committed meanwhile are not waited for, or it would never end.
 */
export async function flush(parts: FlushParts, timeoutMs: number): Promise<void> {
  const deadline = { isOver: false };
  const flushed = await within(parts.clock, timeoutMs, untilFlushed(parts, deadline));
  deadline.isOver = true;
  if (flushed) return;
  const closed = parts.lanes
    .filter((lane) => !lane.gate.isOpen)
    .map((lane) => `${lane.name} (${lane.gate.reason})`);
  throw new RelayError(
    `flush() waited ${timeoutMs} ms in vain: ${parts.inHand.size} messages are in hand` +
      (closed.length > 0 ? `, and these transports do not send: ${closed.join(', ')}.` : '.') +
      ' Resume what is paused, see that the broker and the database answer, or give it a longer timeoutMs.',
  );
}

async function untilFlushed(parts: FlushParts, deadline: { readonly isOver: boolean }): Promise<void> {
  while (!deadline.isOver) {
    const givenBack = parts.releases.total;
    await parts.promoter.whenSeenTo();
    const looked = await parts.resendJob.lookNow();
    await untilThrough(parts.inHand);
    if (looked && givenBack === parts.releases.total && !(await waitsBehindClosedGate(parts))) return;
    await new Promise<void>((resolve) => parts.clock.after(RETRY_MS, resolve));
  }
}

/** A key's next message is in hand before the one it waited for is through, so the keys are followed to their ends. */
async function untilThrough(inHand: InHand): Promise<void> {
  for (let waiting = inHand.snapshot(); waiting.size > 0;) {
    const keys = keysOf(waiting);
    await inHand.whenDone(waiting);
    waiting = keys.size === 0 ? new Set() : inHand.snapshot(({ message }) => keys.has(message.keyHash));
  }
}

function keysOf(messages: ReadonlySet<HeldMessage>): Set<bigint | null> {
  const keys = new Set<bigint | null>();
  for (const { message } of messages) if (message.keyHash !== null) keys.add(message.keyHash);
  return keys;
}

async function waitsBehindClosedGate({ lanes, store }: FlushParts): Promise<boolean> {
  const closed = lanes.filter((lane) => !lane.gate.isOpen).map((lane) => lane.name);
  return closed.length > 0 && (await store.nextDueInMs(closed).catch(() => 0)) === 0;
}
