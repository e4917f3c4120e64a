import type { ConsumerResult } from './delivery';

/**
 * What consumers have made of messages that are not confirmed yet, so that a retry runs only those that failed. Kept in
 * memory, for so many messages at most: a restart forgets it, and then every consumer runs again (at least once).
 */
export class FinishedConsumers {
  private readonly byMessage = new Map<string, Map<string, ConsumerResult>>();

  constructor(private readonly messagesMax: number) {}

  of(messageId: string): ReadonlyMap<string, ConsumerResult> {
    return this.byMessage.get(messageId) ?? new Map<string, ConsumerResult>();
  }

  remember(messageId: string, results: Map<string, ConsumerResult>): void {
    this.byMessage.delete(messageId);
    if (results.size === 0) return;
    this.byMessage.set(messageId, results);
    const [oldest] = this.byMessage.keys();
    if (this.byMessage.size > this.messagesMax && oldest !== undefined) this.byMessage.delete(oldest);
  }
}
