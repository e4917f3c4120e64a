import type { TransportState, WaitingByItself } from '../core/explanation';
import type { MessageRecord } from '../core/message';
import type { MessageSituation } from '../core/outbox-store.port';

/** The sentences of `explain()`: what is so, and what to do. */

export type OwnReason = WaitingByItself['reason'];

export function notFound(id: string): string {
  return (
    `No committed message has the id ${id}. Its transaction may still be open in another process (a database shows nobody ` +
    `the rows of an open transaction), or was rolled back; or the row was purged when its retention was over; or it is ` +
    `another outbox's.`
  );
}

export function transactionOpen(transaction: string): string {
  return (
    `It was published in this process by a transaction that is still open: ${transaction}. It is sent when that commits, ` +
    'and never if it rolls back.'
  );
}

export function finished({ message, finishedAt }: MessageSituation): string {
  const { status, expiresAt, deadAt } = message;
  const at = time(finishedAt);
  if (status === 'sent') return `It was sent: the broker confirmed it at ${at}.`;
  if (status === 'consumed') return `It was sent, and a consumer's receipt came back at ${at}.`;
  if (expiresAt !== null && deadAt === null)
    return `It will never be sent: its time was over before it could be, and it was cancelled at ${at}.`;
  return `It will never be sent: it was a dead letter, and a person discarded it at ${at}.`;
}

export function deadLetter({ message, waiting }: MessageSituation): string {
  const behind =
    waiting === 0 ? '' : ` It holds its key '${message.key}': ${messages(waiting, 'later')} behind it wait.`;
  return (
    `It is a dead letter since ${time(message.deadAt)}, after ${attempts(message)}: ${message.lastError}.${behind} Put the cause ` +
    `right and redrive('${message.id}'), or discard it.`
  );
}

export function behind(
  { ahead, message }: MessageSituation,
  holder: MessageRecord,
  transport: TransportState,
): string {
  const { count } = ahead;
  if (holder.status === 'dead_letter') {
    return (
      `Its key '${message.key}' is parked by the dead letter ${holder.id}, since ${time(holder.deadAt)}: ${holder.lastError}. ` +
      `${messages(count, 'earlier')} of the key, with that one, must go first. Put the cause right and redrive('${holder.id}'), ` +
      `or discard it.${besides(message, transport)}`
    );
  }
  return (
    `${messages(count, 'earlier')} of its key '${message.key}' must go first. explain('${holder.id}') tells what the first ` +
    `of them waits for.${besides(message, transport)}`
  );
}

export function leased(
  { message, dueInMs }: MessageSituation,
  isThisProcess: boolean,
  transport: TransportState,
): string {
  const holder = isThisProcess ? 'This process' : `The instance ${message.claimedBy}`;
  const other = isThisProcess ? '' : ', or has died';
  return (
    `${holder} holds it and is sending it${other}. Unless it is sent before, or the lease renewed, any relay may take it in ` +
    `${duration(dueInMs)}.${besides(message, transport)}`
  );
}

export function transportClosed(
  { message: { transport } }: MessageSituation,
  state: 'paused' | 'unreachable' | 'unknown',
): string {
  switch (state) {
    case 'paused':
      return `It is due, and its transport '${transport}' is paused in this process until resume('${transport}'). Relays in other processes may send it.`;
    case 'unreachable':
      return `It is due, and the broker of its transport '${transport}' does not answer this process, which probes it and sends when it is back. Relays in other processes may send it.`;
    case 'unknown':
      return `It is due, and this process has no transport named '${transport}': a relay that has one must run elsewhere. Compare the transports of whoever published it.`;
  }
}

export function byItself(reason: OwnReason, situation: MessageSituation, transport: TransportState): string {
  return (
    ownReason(reason, situation) +
    (reason === 'due' ? idle(transport) : besides(situation.message, transport))
  );
}

function ownReason(
  reason: OwnReason,
  { message, dueInMs, availableInMs, expiresInMs }: MessageSituation,
): string {
  switch (reason) {
    case 'delayed':
      return `It was published with a delay, and is due in ${duration(availableInMs)}.`;
    case 'backing-off':
      return message.attempts === 0
        ? `A relay gave it back unsent, and it may be taken again in ${duration(dueInMs)}.`
        : `It was refused after ${attempts(message)}, the last time: ${message.lastError}. The next one is due in ${duration(dueInMs)}.`;
    case 'expired':
      return `It expired ${duration(-(expiresInMs ?? 0))} ago, unsent. The next sweep of a relay (relay.sweepIntervalMs) cancels it.`;
    case 'quarantine':
      return `It was taken for sending ${message.claims} times without any outcome, so it may end the process that sends it. When its lease is over, the next sweep of a relay (relay.sweepIntervalMs) makes a dead letter of it.`;
    case 'promotion':
      return `Nothing of its key '${message.key}' holds it any more. A relay makes it due at once where it saw the one before it go, and otherwise with its next sweep (relay.sweepIntervalMs).`;
    case 'prepared':
      return 'It waits for the word of the application that its local transaction is committed.';
    case 'due':
      return `It has been due for ${duration(-dueInMs)}${message.claimedBy === null ? '' : ` (the lease of ${message.claimedBy} is over)`}, and a relay takes it at its next look at the table.`;
  }
}

function idle(transport: TransportState): string {
  return transport === 'idle'
    ? ' This process does not send, so that is one elsewhere: see that it runs.'
    : '';
}

/** What keeps it from being sent when its first reason is over. */
function besides({ transport }: MessageRecord, state: TransportState): string {
  switch (state) {
    case 'paused':
    case 'unreachable':
      return ` Besides, its transport '${transport}' is ${state} in this process.`;
    case 'unknown':
      return ` Besides, this process has no transport named '${transport}'.`;
    case 'open':
    case 'idle':
      return '';
  }
}

function messages(count: number, which: 'earlier' | 'later'): string {
  return count === 1 ? `1 ${which} message` : `${count} ${which} messages`;
}

function attempts({ attempts: count }: MessageRecord): string {
  return count === 1 ? '1 attempt' : `${count} attempts`;
}

function time(date: Date | null): string {
  return date === null ? 'a time unknown' : date.toISOString();
}

function duration(milliseconds: number): string {
  const seconds = milliseconds / 1_000;
  if (seconds < 1) return `${Math.round(milliseconds)} ms`;
  if (seconds < 120) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`;
}
