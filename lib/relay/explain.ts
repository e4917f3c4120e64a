import type { Explanation, TransportState, Waiting } from '../core/explanation';
import type { MessageSituation } from '../core/outbox-store.port';
import * as text from './explanation-text';

/** What this process knows, besides the table. */
export interface ProcessView {
  /** Its own name in `claimed_by`. */
  readonly owner: string;
  /** Rows taken this often without an outcome are taken no more. */
  readonly claimsMax: number;
  /** The open transaction of this process in which the message is staged; null: in none. */
  readonly stagedIn: string | null;
  readonly transportState: (name: string) => TransportState;
}

/** Why a message is not sent yet. A row outranks what memory says: the commit may have come between the two looks. */
export function explain(id: string, situation: MessageSituation | null, view: ProcessView): Explanation {
  if (situation === null) {
    const { stagedIn } = view;
    return stagedIn === null
      ? { reason: 'not-found', id, text: text.notFound(id) }
      : { reason: 'transaction-open', id, text: text.transactionOpen(stagedIn), transaction: stagedIn };
  }
  const { message } = situation;
  const found = { id: message.id, message };
  switch (message.status) {
    case 'sent':
    case 'consumed':
    case 'cancelled': {
      const { status } = message;
      return { ...found, reason: status, at: situation.finishedAt, text: text.finished(situation) };
    }
    case 'dead_letter': {
      const { lastError: error, deadAt: since } = message;
      const { waiting } = situation;
      return { ...found, reason: 'dead-letter', error, since, waiting, text: text.deadLetter(situation) };
    }
    case 'blocked':
    case 'pending':
    case 'prepared':
      return unsent(situation, view);
  }
}

function unsent(situation: MessageSituation, view: ProcessView): Waiting {
  const { message } = situation;
  const transport = view.transportState(message.transport);
  const found = { id: message.id, message, transport };
  if (message.status === 'blocked') {
    const { first, deadLetter, count: ahead } = situation.ahead;
    const holder = deadLetter ?? first;
    if (holder !== null) {
      const reason = deadLetter === null ? 'behind' : 'parked';
      return { ...found, reason, holder, ahead, text: text.behind(situation, holder, transport) };
    }
  }
  const { isClaimed, dueInMs } = situation;
  if (message.status === 'pending' && isClaimed && dueInMs > 0) {
    const by = message.claimedBy ?? '';
    const isThisProcess = by === view.owner;
    const words = text.leased(situation, isThisProcess, transport);
    return { ...found, reason: 'leased', by, isThisProcess, leaseLeftMs: dueInMs, text: words };
  }
  const reason = reasonOfItsOwn(situation, view);
  if (reason === 'due' && transport !== 'open' && transport !== 'idle') {
    return { ...found, reason: `transport-${transport}`, text: text.transportClosed(situation, transport) };
  }
  return {
    ...found,
    reason,
    dueInMs: Math.max(0, dueInMs),
    error: message.lastError,
    text: text.byItself(reason, situation, transport),
  };
}

/** In the order in which a claim looks: what no relay takes any more comes before what is not due yet. */
function reasonOfItsOwn(situation: MessageSituation, { claimsMax }: ProcessView): text.OwnReason {
  const { message, expiresInMs, availableInMs, dueInMs } = situation;
  if (message.status === 'blocked') return 'promotion';
  if (message.status === 'prepared') return 'prepared';
  if (expiresInMs !== null && expiresInMs <= 0) return 'expired';
  if (message.claims >= claimsMax) return 'quarantine';
  if (dueInMs <= 0) return 'due';
  return availableInMs > 0 ? 'delayed' : 'backing-off';
}
