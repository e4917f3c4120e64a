import { randomUUID } from 'node:crypto';
import type { INestApplicationContext } from '@nestjs/common';
import { systemClock } from '../../lib/core/clock';
import type { ClaimedMessage } from '../../lib/core/message';
import type { SendOutcome, Transport, TransportContext } from '../../lib/core/transport.port';
import { waitFor } from '../support/wait-for';

/** A context in which an application has these providers. */
export function transportContext(providers: ReadonlyMap<unknown, unknown> = new Map()): TransportContext {
  return {
    name: 'test',
    clock: systemClock,
    resolve: <T>(token: unknown) => providers.get(token) as T | undefined,
    outside: (work) => work(),
  };
}

/** The context of an application that is up. */
export function applicationContext(application: INestApplicationContext): TransportContext {
  return {
    ...transportContext(),
    resolve: <T>(token: unknown) => {
      try {
        return application.get<T>(token as never, { strict: false });
      } catch {
        return undefined;
      }
    },
  };
}

export function claimedMessage(content: Partial<ClaimedMessage> = {}): ClaimedMessage {
  return {
    id: randomUUID(),
    type: 'order.placed',
    transport: 'test',
    destination: 'shop',
    key: null,
    keyHash: null,
    tenant: null,
    source: 'shop',
    payload: Buffer.from('{"a":1}'),
    contentType: 'application/json',
    contentEncoding: null,
    schemaVersion: null,
    headers: {},
    token: 'token',
    attempts: 0,
    claims: 1,
    createdAt: new Date('2030-01-02T03:04:05Z'),
    leaseEndsAtMs: systemClock.monotonicMs() + 30_000,
    ...content,
  };
}

export function claimedMessages(count: number, content: Partial<ClaimedMessage> = {}): ClaimedMessage[] {
  return Array.from({ length: count }, () => claimedMessage(content));
}

/** Sends, and keeps every outcome, so that a second one for the same message is seen. */
export class Outcomes {
  readonly all: { readonly id: string; readonly outcome: SendOutcome }[] = [];

  constructor(private readonly transport: Transport) {}

  send(messages: readonly ClaimedMessage[]): void {
    this.transport.send(messages, (message, outcome) => this.all.push({ id: message.id, outcome }));
  }

  of({ id }: ClaimedMessage): SendOutcome {
    const found = this.all.filter((entry) => entry.id === id);
    if (found.length !== 1) throw new Error(`Message ${id} has ${found.length} outcomes`);
    return found[0]!.outcome;
  }

  kinds(messages: readonly ClaimedMessage[]): string[] {
    return [...new Set(messages.map((message) => this.of(message).kind))];
  }

  async settled(messages: readonly ClaimedMessage[], timeoutMs = 15_000): Promise<void> {
    const done = () => {
      const ids = new Set(this.all.map((entry) => entry.id));
      return messages.every(({ id }) => ids.has(id));
    };
    await waitFor(done, { timeoutMs, what: `${messages.length} outcomes` });
  }

  /** Sends and waits for the outcomes. */
  async sendAndSettle(messages: readonly ClaimedMessage[], timeoutMs?: number): Promise<void> {
    this.send(messages);
    await this.settled(messages, timeoutMs);
  }
}

/** Resolves when the transport tells of this state, beginning now. */
export function stateOf(transport: Transport, state: 'up' | 'down'): Promise<string | undefined> {
  return new Promise((resolve) => {
    const stop = transport.onStateChange((now, reason) => {
      if (now !== state) return;
      stop();
      resolve(reason);
    });
  });
}
