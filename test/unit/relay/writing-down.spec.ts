import { refused } from '../support/fake-transport';
import { settled } from '../support/manual-clock';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';

describe('writing outcomes down', () => {
  let fixture: RelayFixture;

  function start(given: GivenRelay = {}): RelayFixture {
    fixture = new RelayFixture(given);
    return fixture;
  }

  /** Every statement of that name fails until it is told otherwise. */
  function breakStatement(name: string): () => void {
    fixture.database.before = (statement) => {
      if (statement === name) throw new Error('connection refused');
    };
    return () => {
      fixture.database.before = () => undefined;
    };
  }

  afterEach(() => fixture.stop());

  it('writes many confirmations with one statement', async () => {
    start();
    await Promise.all(Array.from({ length: 40 }, () => fixture.publish({})));
    await fixture.clock.advance(10);
    expect(fixture.count('complete')).toBe(1);
  });

  it('writes a full batch without waiting', async () => {
    start({ settings: { relay: { completionSizeMax: 5, completionDelayMs: 1_000 } } });
    const ids = await fixture.publish({}, {}, {}, {}, {}, {});
    await settled();
    const statuses = (): unknown[] => ids.map((id) => fixture.statusOf(id));
    // The sixth came while the five were written, and waits for others of its own.
    expect(statuses()).toEqual(['sent', 'sent', 'sent', 'sent', 'sent', 'pending']);
    await fixture.clock.advance(1_000);
    expect(statuses()).toEqual(['sent', 'sent', 'sent', 'sent', 'sent', 'sent']);
  });

  it('gathers on while a statement runs, instead of following it with a small one', async () => {
    start({ settings: { relay: { completionDelayMs: 20 } } });
    fixture.database.before = (statement) =>
      statement === 'complete'
        ? new Promise((resolve) => fixture.clock.after(3, () => resolve(undefined)))
        : undefined;
    for (let round = 0; round < 100; round += 1) {
      await fixture.publish({});
      await fixture.clock.advance(1);
    }
    await fixture.clock.advance(30);
    expect(fixture.count('complete')).toBeLessThanOrEqual(6);
    expect(fixture.eventsOf('message.sent')).toHaveLength(100);
  });

  it('tells that a message is sent only when that is written down', async () => {
    start();
    const mend = breakStatement('complete');
    await fixture.publish({});
    await fixture.clock.advance(1_000);
    expect(fixture.eventsOf('message.sent')).toEqual([]);
    mend();
    await fixture.clock.advance(5_000);
    expect(fixture.eventsOf('message.sent')).toHaveLength(1);
  });

  it('a database away during the completion: written down when it is back, and not sent a second time from here', async () => {
    start();
    const mend = breakStatement('complete');
    const [id] = await fixture.publish({});
    // Long past the lease: the resend job claims the row again, and knows better.
    await fixture.clock.advance(40_000);
    expect(fixture.database.row(id!)).toMatchObject({ status: 'pending' });
    expect(fixture.database.row(id!).claims).toBeGreaterThan(1);
    expect(fixture.transport.sent).toHaveLength(1);
    mend();
    await fixture.clock.advance(5_000);
    expect(fixture.statusOf(id!)).toBe('sent');
    expect(fixture.transport.sent).toHaveLength(1);
  });

  it('a database away while a refusal is to be written: tried again within the lease', async () => {
    start();
    fixture.transport.answer = () => refused();
    const mend = breakStatement('fail');
    const [id] = await fixture.publish({});
    await fixture.clock.advance(3_000);
    expect(fixture.database.row(id!).attempts).toBe(0);
    mend();
    await fixture.clock.advance(5_000);
    expect(fixture.database.row(id!).attempts).toBeGreaterThan(0);
  });

  it('one row that cannot be written down does not stop the others', async () => {
    start({ settings: { retry: { attemptsMax: 1 } } });
    fixture.transport.answer = ({ type }) => refused(true, type);
    const { fail } = fixture.store;
    fixture.store.fail = (failures) =>
      failures.some(({ error }) => error === 'poison')
        ? Promise.reject(new Error('invalid byte sequence'))
        : fail.call(fixture.store, failures);
    const ids = await fixture.publish({}, {}, { type: 'poison' }, {}, {}, {}, {});
    await fixture.clock.advance(15_000);
    const dead = ids.filter((id) => fixture.statusOf(id) === 'dead_letter');
    expect(dead).toEqual(ids.filter((_, index) => index !== 2));
  });

  it('what cannot be given back is due when its lease ends, and nothing piles up', async () => {
    start({ settings: { relay: { queueSizeMax: 1 } } });
    const mend = breakStatement('release');
    const ids = await fixture.publish({}, {}, {});
    await fixture.clock.advance(29_000);
    expect(ids.map((id) => fixture.statusOf(id))).toEqual(['sent', 'pending', 'pending']);
    await fixture.clock.advance(10_000);
    expect((await fixture.relay.stats()).inFlight).toBe(0);
    mend();
    await fixture.clock.advance(6_000);
    expect(ids.map((id) => fixture.database.row(id).completions)).toEqual([1, 1, 1]);
  });
});
