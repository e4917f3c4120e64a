import { RelayError } from '../../../lib/core/errors';
import { deferred } from '../../support/signal';
import { CONFIRMED, FakeTransport, refused, UNREACHABLE } from '../support/fake-transport';
import { settled } from '../support/manual-clock';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';
import { stagedMessage } from '../support/staged-message';

describe('flush()', () => {
  let fixture: RelayFixture;

  function start(given: GivenRelay = {}): RelayFixture {
    fixture = new RelayFixture(given);
    return fixture;
  }

  interface Flush {
    state: 'waiting' | 'flushed' | RelayError;
    /** Statuses of all rows at the moment when it resolved: later, much may have happened by itself. */
    statuses: string[];
  }

  /** A flush on its way, and what has become of it. */
  function flush(timeoutMs?: number): Flush {
    const result: Flush = { state: 'waiting', statuses: [] };
    fixture.relay.flush(timeoutMs === undefined ? {} : { timeoutMs }).then(
      () => {
        result.state = 'flushed';
        result.statuses = fixture.database.rows.map(({ status }) => status);
      },
      (error: RelayError) => (result.state = error),
    );
    return result;
  }

  afterEach(() => fixture.stop());

  it('resolves at once when there is nothing to wait for', async () => {
    start();
    const result = flush();
    await settled(20);
    expect(result.state).toBe('flushed');
  });

  it('waits until what is confirmed is written down', async () => {
    start();
    await settled();
    const gate = deferred<void>();
    fixture.database.before = (statement) => (statement === 'complete' ? gate.promise : undefined);
    await fixture.publish({});
    const result = flush();
    await fixture.clock.advance(1_000);
    expect(result.state).toBe('waiting');
    gate.resolve();
    await settled(20);
    expect(result).toEqual({ state: 'flushed', statuses: ['sent'] });
  });

  it('sends what is due in the table, however idle the job is', async () => {
    start();
    await fixture.clock.advance(60_000);
    const ids = await fixture.insertDue({}, {}, {});
    const result = flush();
    await fixture.clock.advance(20);
    expect(result).toEqual({ state: 'flushed', statuses: ids.map(() => 'sent') });
  });

  it('follows keys to their ends', async () => {
    start();
    fixture.transport.answer = () => settled(3).then(() => CONFIRMED);
    const ids = await fixture.publish(...Array.from({ length: 6 }, () => ({ key: 'k' })));
    const result = flush();
    await settled(200);
    expect(result.state).toBe('flushed');
    expect(result.statuses).toEqual(ids.map(() => 'sent'));
  });

  it('follows the key of a message that was only just promoted after its commit', async () => {
    start();
    await settled();
    const gate = deferred<void>();
    fixture.database.before = (statement) => (statement === 'promote' ? gate.promise : undefined);
    const commit = await fixture.prepare([stagedMessage({ key: 'k', id: 'strict' })], 'SERIALIZABLE');
    commit();
    const result = flush();
    await fixture.clock.advance(500);
    expect(result.state).toBe('waiting');
    gate.resolve();
    await fixture.clock.advance(100);
    expect(result).toEqual({ state: 'flushed', statuses: ['sent'] });
  });

  it('counts a failed attempt as through, and does not wait for delays', async () => {
    start();
    fixture.transport.answer = () => refused();
    await fixture.publish({}, { delayMs: 60_000 });
    const result = flush();
    await fixture.clock.advance(20);
    expect(result.state).toBe('flushed');
  });

  it('does not wait for messages that come after it', async () => {
    start();
    fixture.transport.answer = () => 'never';
    const [first] = await fixture.publish({});
    const result = flush();
    await settled(20);
    await fixture.publish({});
    fixture.transport.settle(first!);
    await fixture.clock.advance(20);
    expect(result.state).toBe('flushed');
    fixture.transport.settleAll();
  });

  it('waits for a transport that is unreachable, and goes on when it is back', async () => {
    start();
    fixture.transport.reachable = false;
    fixture.transport.answer = () => (fixture.transport.reachable ? CONFIRMED : UNREACHABLE);
    await fixture.publish({});
    const result = flush();
    await fixture.clock.advance(5_000);
    expect(result.state).toBe('waiting');
    fixture.transport.reachable = true;
    await fixture.clock.advance(5_000);
    expect(result).toEqual({ state: 'flushed', statuses: ['sent'] });
  });

  it('gives up after its time, and names what does not send', async () => {
    start();
    fixture.relay.pause('main');
    await fixture.publish({});
    const result = flush(3_000);
    await fixture.clock.advance(3_100);
    expect(result.state).toBeInstanceOf(RelayError);
    expect(String(result.state)).toMatch(/waited 3000 ms in vain.*main \(paused\)/);
  });

  it('does not take a database that is away for an empty table', async () => {
    start();
    await settled();
    fixture.database.before = (statement) => {
      if (statement === 'claim') throw new Error('connection refused');
    };
    await fixture.insertDue({});
    const result = flush();
    await fixture.clock.advance(2_000);
    expect(result.state).toBe('waiting');
    fixture.database.before = () => undefined;
    await fixture.clock.advance(2_000);
    expect(result.state).toBe('flushed');
  });

  it('waits for what the full queue gave back', async () => {
    start({
      settings: { relay: { queueSizeMax: 1 } },
      transports: { main: new FakeTransport({ concurrencyMax: 1 }) },
    });
    const ids = await fixture.publish({}, {}, {}, {});
    const result = flush();
    await fixture.clock.advance(1_000);
    expect(result.state).toBe('flushed');
    expect(result.statuses).toEqual(ids.map(() => 'sent'));
  });

  it.each<[string, GivenRelay, string]>([
    ['inside a transaction', { dependencies: { isTransactionActive: () => true } }, 'inside a transaction'],
    ['in a process that only publishes', { settings: { role: 'publisher' } }, 'only publishes'],
    ['before the start', { started: false }, 'not started yet'],
  ])('is refused %s', async (_, given, message) => {
    start(given);
    await expect(fixture.relay.flush()).rejects.toThrow(message);
  });

  it('leaves no timer behind', async () => {
    start();
    await fixture.clock.advance(30_000);
    const before = fixture.clock.armed;
    void flush();
    await settled(20);
    expect(fixture.clock.armed).toBe(before);
  });
});

describe('stats()', () => {
  let fixture: RelayFixture;

  afterEach(() => fixture.stop());

  it('never reads zero while a message waits, wherever it is', async () => {
    fixture = new RelayFixture();
    fixture.transport.answer = () => 'never';
    await fixture.publish({ key: 'k' }, { key: 'k' });
    await fixture.clock.advance(3_000);
    expect(await fixture.relay.stats()).toMatchObject({
      pending: 2,
      blocked: 1,
      due: 0,
      inFlight: 1,
      oldestUnsentMs: 3_000,
      paused: {},
    });
    fixture.transport.answer = () => CONFIRMED;
    fixture.transport.settleAll();
    await fixture.clock.advance(100);
    expect(await fixture.relay.stats()).toMatchObject({
      pending: 0,
      oldestUnsentMs: 0,
      inFlight: 0,
      sent: 2,
    });
  });

  it('rejects rather than read zero when the database does not answer', async () => {
    fixture = new RelayFixture();
    fixture.database.before = (statement) => {
      if (statement === 'stats') throw new Error('connection refused');
    };
    await expect(fixture.relay.stats()).rejects.toThrow('connection refused');
  });
});
