import { deferred } from '../../support/signal';
import { FakeTransport } from '../support/fake-transport';
import { settled } from '../support/manual-clock';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';
import { stagedMessage } from '../support/staged-message';

describe('shutdown', () => {
  let fixture: RelayFixture;

  function start(given: GivenRelay = {}): RelayFixture {
    fixture = new RelayFixture(given);
    return fixture;
  }

  function stop(): { readonly over: boolean } {
    const state = { over: false };
    void fixture.relay.stop().then(() => (state.over = true));
    return state;
  }

  afterEach(() => fixture.stop());

  it('ends at once when nothing is in hand', async () => {
    start();
    await settled();
    const state = stop();
    await settled();
    expect(state.over).toBe(true);
  });

  it('in the middle of a batch: what is confirmed in time is written down, the rest goes back', async () => {
    start({ transports: { main: new FakeTransport({ concurrencyMax: 4 }) } });
    fixture.transport.answer = () => 'never';
    const ids = await fixture.publish(...Array.from({ length: 10 }, () => ({})));
    const state = stop();
    await fixture.clock.advance(5_000);
    expect(state.over).toBe(false);
    fixture.transport.settle(ids[0]!);
    fixture.transport.settle(ids[1]!);
    await fixture.clock.advance(5_100);

    expect(state.over).toBe(true);
    const rows = ids.map((id) => fixture.database.row(id));
    expect(rows.slice(0, 2).map(({ status }) => status)).toEqual(['sent', 'sent']);
    expect(rows.slice(2)).toEqual(
      rows
        .slice(2)
        .map(() => expect.objectContaining({ status: 'pending', token: null, claims: 0 }) as unknown),
    );
    // At once, and not only when the leases would have ended.
    expect(rows.slice(2).every(({ nextAttemptMs }) => nextAttemptMs <= fixture.clock.wallMs())).toBe(true);
  });

  it('waits for a notification that is on its way, and sends the one that is due', async () => {
    start({ settings: { role: 'publisher' } });
    const answers: (() => void)[] = [];
    fixture.database.before = (statement) =>
      statement === 'notify' ? new Promise((resolve) => answers.push(resolve)) : undefined;
    await fixture.publish({});
    await fixture.clock.advance(100);
    await fixture.publish({});
    const state = stop();
    await settled();
    expect(answers).toHaveLength(2);
    answers[1]!();
    await settled();
    expect(state.over).toBe(false);
    answers[0]!();
    await settled();
    expect(state.over).toBe(true);
  });

  it('sends what was committed before it, as long as there is time', async () => {
    start({ transports: { main: new FakeTransport({ concurrencyMax: 2 }) } });
    const ids = await fixture.publish(...Array.from({ length: 9 }, () => ({})));
    const state = stop();
    await fixture.clock.advance(100);
    expect(state.over).toBe(true);
    expect(ids.map((id) => fixture.statusOf(id))).toEqual(ids.map(() => 'sent'));
  });

  it('does not claim any more, also not in the middle of a drain', async () => {
    start({ settings: { relay: { claimSizeMax: 2 } }, started: false });
    await fixture.insertDue(...Array.from({ length: 20 }, () => ({})));
    let claims = 0;
    fixture.database.before = (statement) => {
      if (statement === 'claim' && (claims += 1) === 3) void fixture.relay.stop();
    };
    fixture.start();
    await fixture.clock.advance(60_000);
    expect(claims).toBe(3);
  });

  it.each([
    ['comes in time: its messages are sent', 5_000, 'sent', 1],
    ['comes too late: its messages go back', 13_000, 'pending', 0],
  ])('waits for a claim that is on its way, which %s', async (_, claimMs, status, sent) => {
    start();
    await settled();
    const [id] = await fixture.insertDue({});
    const gate = deferred<void>();
    fixture.database.after = (statement) => (statement === 'claim' ? gate.promise : undefined);
    await fixture.clock.advance(1_000);
    const state = stop();
    await fixture.clock.advance(claimMs);
    expect(state.over).toBe(claimMs > 10_000);
    gate.resolve();
    await fixture.clock.advance(100);
    expect(state.over).toBe(true);
    expect(fixture.database.row(id!)).toMatchObject({ status, token: null });
    expect(fixture.transport.sent).toHaveLength(sent);
  });

  it('a confirmation that comes while the transport stops is still written down', async () => {
    start();
    fixture.transport.answer = () => 'never';
    const [id] = await fixture.publish({});
    const state = stop();
    await fixture.clock.advance(13_000);
    expect(state.over).toBe(true);
    expect(fixture.statusOf(id!)).toBe('pending');
    fixture.transport.settle(id!);
    const closed = fixture.relay.close();
    await fixture.clock.advance(3_000);
    await closed;
    expect(fixture.statusOf(id!)).toBe('sent');
    expect(fixture.store.closed).toBe(true);
  });

  it('keeps the leases of messages whose handlers still run: nobody else may run them yet', async () => {
    start({ transports: { main: new FakeTransport({ confirms: 'handlers', sendTimeoutMs: 0 }) } });
    fixture.transport.answer = () => 'never';
    const [id] = await fixture.publish({});
    const state = stop();
    await fixture.clock.advance(13_000);
    expect(state.over).toBe(true);
    await fixture.transport.stop();
    await fixture.clock.advance(1_000);
    const row = fixture.database.row(id!);
    expect(row.token).not.toBeNull();
    expect(row.nextAttemptMs).toBeGreaterThan(fixture.clock.wallMs());
  });

  it('a commit between the drain and the end is given back', async () => {
    start();
    const commit = await fixture.prepare([stagedMessage({ id: 'late' })]);
    const state = stop();
    await settled();
    expect(state.over).toBe(true);
    commit();
    const closed = fixture.relay.close();
    await fixture.clock.advance(3_000);
    await closed;
    expect(fixture.database.row('late')).toMatchObject({ status: 'pending', token: null });
  });

  it('is bounded when the database hangs', async () => {
    start();
    fixture.transport.answer = () => 'never';
    await fixture.publish({});
    fixture.database.before = () => new Promise(() => undefined);
    const state = stop();
    await fixture.clock.advance(15_000);
    expect(state.over).toBe(true);
  });

  it('leaves no timer behind, and does not begin again', async () => {
    start();
    await fixture.publish({});
    await fixture.stop();
    fixture.start();
    fixture.relay.wake();
    await fixture.insertDue({});
    const before = fixture.database.statements.length;
    await fixture.clock.advance(120_000);
    expect(fixture.database.statements.length).toBe(before);
    // The schedule of this fixture beats on.
    expect(fixture.clock.armed).toBe(1);
  });

  it('of a process that never started, or only publishes, is the same', async () => {
    start({ started: false });
    await fixture.stop();
    start({ settings: { role: 'publisher' } });
    await fixture.publish({});
    await fixture.stop();
    expect(fixture.store.closed).toBe(true);
  });
});
