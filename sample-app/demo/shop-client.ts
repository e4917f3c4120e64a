import { setTimeout as delay } from 'node:timers/promises';

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

const RETRY_DELAY_MS = 200;
const RETRY_DELAY_MAX_MS = 1_600;
const ANSWER_TIMEOUT_MS = 30_000;
const GIVE_UP_AFTER_MS = 120_000;

/** A customer's browser: it asks, and where that is safe, it asks again until there is an answer. */
export class ShopClient {
  /** How often a request was sent again because no answer came. */
  retries = 0;

  constructor(private readonly shop: { readonly url: string }) {}

  async send(
    method: string,
    path: string,
    body: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const response = await fetch(this.shop.url + path, {
      method,
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    return { status: response.status, body: await response.json() };
  }

  /** For what must not be asked twice: an answer that is no success is an error. */
  async expect(method: string, path: string, body: unknown): Promise<void> {
    const answer = await this.send(method, path, body);
    if (answer.status >= 300)
      throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  }

  /**
   * No answer means that the order was placed, or that it was not. Asked again under the same key, the shop gives the
   * order that there is, or places it now; never a second one.
   */
  async placeOrder(order: { customerId: string; items: object[] }, idempotencyKey: string): Promise<Answer> {
    const deadline = Date.now() + GIVE_UP_AFTER_MS;
    for (let delayMs = RETRY_DELAY_MS; ; delayMs = Math.min(2 * delayMs, RETRY_DELAY_MAX_MS)) {
      try {
        const answer = await this.send('POST', '/orders', order, { 'idempotency-key': idempotencyKey });
        if (answer.status < 500 || Date.now() > deadline) return answer;
      } catch (error) {
        if (Date.now() > deadline) throw error;
      }
      this.retries += 1;
      await delay(delayMs * (0.5 + Math.random()));
    }
  }
}
