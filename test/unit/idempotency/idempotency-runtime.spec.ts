import { type Clock } from '../../../lib/core/clock';
import {
  DuplicateInProgressError,
  HandlerNackedError,
  OutboxConfigurationError,
  TransactionRollbackOnlyError,
  UnprocessableMessageError,
} from '../../../lib/core/errors';
import { OutboxEvents } from '../../../lib/core/events';
import {
  type ConsumedMessage,
  type IdempotentMarker,
  type IdempotentOptions,
} from '../../../lib/core/idempotency.port';
import { type InboxEntry, type InboxStore } from '../../../lib/core/inbox-store.port';
import { type TransactionOptions, type Transactions } from '../../../lib/core/transactions.port';
import { IdempotencyRuntime } from '../../../lib/idempotency/idempotency-runtime';

/** One database in memory: what a transaction adds is there when it commits. */
class Database {
  readonly committed = new Set<string>();
  readonly opened: TransactionOptions[] = [];
  failures: { add?: Error; commit?: Error } = {};
  private pending: string[] = [];

  readonly transactions = {
    run: async (options: TransactionOptions, work: () => Promise<unknown>) => {
      this.opened.push(options);
      this.pending = [];
      const result = await work();
      if (this.failures.commit !== undefined) throw this.failures.commit;
      for (const key of this.pending) this.committed.add(key);
      return result;
    },
    current: () => ({}),
  } as unknown as Transactions;

  readonly inbox = {
    add: async (_statements: unknown, entries: readonly InboxEntry[]) => {
      if (this.failures.add !== undefined) throw this.failures.add;
      const fresh = entries.filter(({ messageKey }) => !this.committed.has(messageKey));
      this.pending.push(...fresh.map(({ messageKey }) => messageKey));
      return fresh;
    },
    isTransient: (error: unknown) => error === DEADLOCK,
    isLockTimeout: (error: unknown) => error === LOCK_TIMEOUT,
  } as unknown as InboxStore;
}

const DEADLOCK = new Error('Deadlock found');
const LOCK_TIMEOUT = new Error('Lock wait timeout exceeded');
/** Pauses take no time. */
const clock: Clock = {
  monotonicMs: () => 0,
  wallMs: () => 0,
  after: (_delayMs, callback) => {
    const timer = setImmediate(callback);
    return () => {
      clearImmediate(timer);
    };
  },
};

const marker = (options: IdempotentOptions = { consumer: 'cart' }): IdempotentMarker => ({
  method: 'Cart.on',
  dataSource: 'default',
  options,
});
const message = (messageId: string | undefined, headers: Record<string, unknown> = {}): ConsumedMessage => ({
  content: Buffer.alloc(0),
  fields: { exchange: '', routingKey: 'cart', redelivered: false, deliveryTag: 1 },
  properties: { ...(messageId === undefined ? {} : { messageId }), headers },
});

describe('the runtime of @Idempotent handlers', () => {
  let database: Database;
  let runtime: IdempotencyRuntime;

  beforeEach(() => {
    database = new Database();
    runtime = new IdempotencyRuntime({
      transactions: database.transactions,
      inbox: database.inbox,
      events: new OutboxEvents(),
      options: { duplicateWaitMs: 1_000, transientAttemptsMax: 4 },
      clock,
    });
  });

  const failingFor = (times: number, error: unknown) => {
    let calls = 0;
    const handler = async () => {
      calls += 1;
      if (calls <= times) throw error;
    };
    return { handler, calls: () => calls };
  };

  it('opens a transaction of its own, with the isolation asked for', async () => {
    await runtime.handle(
      marker({ consumer: 'cart', isolation: 'SERIALIZABLE' }),
      [{}, message('m')],
      async () => undefined,
    );
    expect(database.opened).toEqual([
      { propagation: 'requiresNew', name: 'Cart.on', isolation: 'SERIALIZABLE' },
    ]);
  });

  it.each([
    ['a deadlock', DEADLOCK],
    ['a lock that was waited for too long', LOCK_TIMEOUT],
    ['a deadlock inside another error', new TransactionRollbackOnlyError('Cart.on', { cause: DEADLOCK })],
  ])('tries again at once after %s in the handler', async (_title, error) => {
    const { handler, calls } = failingFor(3, error);
    await runtime.handle(marker(), [{}, message('m')], handler);
    expect(calls()).toBe(4);
    expect([...database.committed]).toEqual(['m']);
  });

  it('gives up trying at once in the end, and says that nobody is to blame', async () => {
    const { handler, calls } = failingFor(99, DEADLOCK);
    const failed = message('m');
    await expect(runtime.handle(marker(), [{}, failed], handler)).rejects.toBe(DEADLOCK);
    expect(calls()).toBe(4);
    expect(runtime.outcomeOf(failed)).toEqual({ kind: 'failed', error: DEADLOCK });
    expect(await runtime.diagnosis.natureOf(DEADLOCK, 'cart')).toBe('busy');
  });

  it('tries again at once when the COMMIT fails so', async () => {
    database.failures.commit = DEADLOCK;
    const handler = async () => {
      if (database.opened.length === 2) database.failures = {};
    };
    await runtime.handle(marker(), [{}, message('m')], handler);
    expect(database.opened).toHaveLength(2);
    expect([...database.committed]).toEqual(['m']);
  });

  it('does not wait for a concurrent one again and again', async () => {
    database.failures.add = LOCK_TIMEOUT;
    const handler = jest.fn();
    const refused = runtime.handle(marker(), [{}, message('m')], handler);
    await expect(refused).rejects.toThrow(DuplicateInProgressError);
    await expect(refused).rejects.toThrow(/cart: another delivery of message m/);
    expect(database.opened).toHaveLength(1);
    expect(handler).not.toHaveBeenCalled();
    const error = await refused.catch((reason: unknown) => reason);
    expect(await runtime.diagnosis.natureOf(error, 'cart')).toBe('busy');
  });

  it.each([
    ['an ordinary error', new Error('Out of stock'), 'failed'],
    ['Nack(true)', new HandlerNackedError('Cart.on', true), 'failed'],
    ['Nack()', new HandlerNackedError('Cart.on', false), 'refused'],
    ['a message without a key', new UnprocessableMessageError('no key'), 'refused'],
  ])('takes %s for what it is', async (_title, error, nature) => {
    expect(await runtime.diagnosis.natureOf(error, 'cart')).toBe(nature);
    // The probe leaves nothing behind.
    expect([...database.committed]).toEqual([]);
  });

  it('blames the database when the inbox does not work', async () => {
    database.failures.add = new Error('cannot execute INSERT in a read-only transaction');
    expect(await runtime.diagnosis.natureOf(new Error('Whatever'), 'cart')).toBe('unavailable');
  });

  it('blames the database when it does not answer in time', async () => {
    const silent = new IdempotencyRuntime({
      transactions: { ...database.transactions, run: () => new Promise(() => undefined) } as Transactions,
      inbox: database.inbox,
      events: new OutboxEvents(),
      options: { duplicateWaitMs: 1_000, transientAttemptsMax: 4 },
      clock,
    });
    expect(await silent.diagnosis.natureOf(new Error('Whatever'), 'cart')).toBe('unavailable');
  });

  it('shows a handler where the message was published to, not the retry queue it came through', async () => {
    const retried = message('m', { 'x-outbox-exchange': 'shop', 'x-outbox-routing-key': 'order.placed' });
    await runtime.handle(marker(), [{}, retried], async () => {
      expect(retried.fields).toMatchObject({ exchange: 'shop', routingKey: 'order.placed' });
    });
  });

  it('refuses to run under no name', async () => {
    const call = runtime.handle(marker({}), [{}, message('m')], async () => undefined);
    await expect(call).rejects.toThrow(OutboxConfigurationError);
    await expect(call).rejects.toThrow(/Cart\.on.*before the application had started/s);
  });

  it('is idle when its handlers have ended', async () => {
    let end!: () => void;
    const call = runtime.handle(
      marker(),
      [{}, message('m')],
      () => new Promise<void>((resolve) => (end = resolve)),
    );
    let idle = false;
    const waiting = runtime.idle().then(() => (idle = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(idle).toBe(false);
    end();
    await call;
    await waiting;
    await runtime.idle();
  });
});
