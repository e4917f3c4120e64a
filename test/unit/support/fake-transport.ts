import type { ClaimedMessage } from '../../../lib/core/message';
import type { SendOutcome, Transport, TransportCapabilities } from '../../../lib/core/transport.port';

export const CONFIRMED: SendOutcome = { kind: 'confirmed' };
export const UNREACHABLE: SendOutcome = { kind: 'unreachable', error: 'nobody answers' };

export function refused(retry = true, error = 'no'): SendOutcome {
  return { kind: 'refused', error, retry };
}

/** What the transport answers to a message; `never`: it does not settle it. A promise: it settles it then. */
export type Answer = SendOutcome | 'never' | Promise<SendOutcome>;

interface Pending {
  readonly message: ClaimedMessage;
  readonly settle: (message: ClaimedMessage, outcome: SendOutcome) => void;
}

/** A transport whose answers a test decides. */
export class FakeTransport implements Transport {
  readonly capabilities: TransportCapabilities;
  /** Everything it was ever given, in order. */
  readonly sent: ClaimedMessage[] = [];
  /** The sizes of the batches. */
  readonly batches: number[] = [];
  /** Sent, and without an outcome. */
  readonly pending = new Map<string, Pending>();
  /** The most that were without an outcome at one time. */
  pendingMax = 0;
  probes = 0;
  reachable = true;
  stopped = false;
  answer: (message: ClaimedMessage) => Answer = () => CONFIRMED;
  /** What the relay did that it must never do. */
  readonly violations: string[] = [];
  /** Called for each message that is sent, for a test's own assertions. */
  onSend: (message: ClaimedMessage) => void = () => undefined;
  private readonly listeners = new Set<(state: 'up' | 'down', reason?: string) => void>();

  constructor(capabilities: Partial<TransportCapabilities> = {}) {
    this.capabilities = { confirms: 'broker', concurrencyMax: 1_000, sendTimeoutMs: 10_000, ...capabilities };
  }

  get sentIds(): string[] {
    return this.sent.map(({ id }) => id);
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  send(messages: readonly ClaimedMessage[], settle: Pending['settle']): void {
    for (const message of messages) this.onSend(message);
    this.batches.push(messages.length);
    for (const message of messages) {
      if (this.pending.has(message.id))
        this.violations.push(`${message.id} is with the transport twice at once`);
      this.sent.push(message);
      this.pending.set(message.id, { message, settle });
      this.pendingMax = Math.max(this.pendingMax, this.pending.size);
      const answer = this.answer(message);
      if (answer === 'never') continue;
      void Promise.resolve(answer).then((outcome) => this.settle(message.id, outcome));
    }
  }

  /** Settles what is pending; nothing, if it is not. */
  settle(id: string, outcome: SendOutcome = CONFIRMED): void {
    const pending = this.pending.get(id);
    if (pending === undefined) return;
    this.pending.delete(id);
    pending.settle(pending.message, outcome);
  }

  settleAll(outcome: SendOutcome = CONFIRMED): void {
    for (const id of [...this.pending.keys()]) this.settle(id, outcome);
  }

  probe(): Promise<boolean> {
    this.probes += 1;
    return Promise.resolve(this.reachable);
  }

  onStateChange(listener: (state: 'up' | 'down', reason?: string) => void): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }

  hint(state: 'up' | 'down', reason?: string): void {
    for (const listener of this.listeners) listener(state, reason);
  }

  stop(): Promise<void> {
    this.stopped = true;
    this.settleAll({ kind: 'unreachable', error: 'the transport is stopped' });
    return Promise.resolve();
  }
}
