import { CONFIRMED, FakeTransport, refused } from '../support/fake-transport';
import { settled } from '../support/manual-clock';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';
import { stagedMessage } from '../support/staged-message';

describe('messages that share a key', () => {
  let fixture: RelayFixture;

  function start(given: GivenRelay = {}): RelayFixture {
    fixture = new RelayFixture(given);
    return fixture;
  }

  const keyed = (count: number, key = 'order-1'): { key: string }[] =>
    Array.from({ length: count }, () => ({ key }));

  afterEach(() => fixture.stop());

  it('go one after the other, in order, each as soon as the one before is written down', async () => {
    start();
    await settled();
    const claims = fixture.count('claim');
    const ids = await fixture.publish(...keyed(5));
    await settled(60);
    // No time has passed: neither polling nor the gathering of completions was waited for.
    expect(fixture.transport.sentIds).toEqual(ids);
    expect(fixture.transport.pendingMax).toBe(1);
    expect(fixture.count('claim')).toBe(claims);
    expect(ids.map((id) => fixture.statusOf(id))).toEqual(ids.map(() => 'sent'));
  });

  it('cost a statement for a whole run of them', async () => {
    start();
    await settled();
    await fixture.publish(...keyed(20));
    await settled(200);
    expect(fixture.transport.sent).toHaveLength(20);
    // The first cannot know that others wait, and behind the last there is nobody.
    expect(fixture.count('complete') + fixture.count('promote')).toBeLessThanOrEqual(4);
    expect(fixture.count('completeAndPromote')).toBeLessThanOrEqual(3);
  });

  it('do not wait for company to be written down while others are in flight', async () => {
    start();
    fixture.transport.answer = ({ key }) => (key === null ? 'never' : CONFIRMED);
    await fixture.publish({});
    const ids = await fixture.publish(...keyed(5));
    // The first one may wait for others to share its statement.
    await fixture.clock.advance(5);
    await settled(60);
    expect(fixture.transport.sentIds.slice(1)).toEqual(ids);
    fixture.transport.settleAll();
  });

  it('are looked at once more when the answer of one statement for both was lost', async () => {
    start();
    let lost = 0;
    fixture.database.after = (statement) => {
      if (statement === 'completeAndPromote' && lost++ === 0) throw new Error('connection reset');
    };
    const ids = await fixture.publish(...keyed(4));
    await fixture.clock.advance(40_000);
    expect([...new Set(fixture.transport.sentIds)]).toEqual(ids);
    expect(lost).toBeGreaterThan(0);
    expect(ids.map((id) => fixture.statusOf(id))).toEqual(ids.map(() => 'sent'));
  });

  it('do not hold up other keys', async () => {
    start();
    fixture.transport.answer = ({ key }) => (key === 'slow' ? 'never' : CONFIRMED);
    await fixture.publish(...keyed(2, 'slow'), ...keyed(3, 'quick'));
    await fixture.clock.advance(100);
    expect(fixture.transport.sent.map(({ key }) => key)).toEqual(['slow', 'quick', 'quick', 'quick']);
    fixture.transport.settleAll();
  });

  it('wait through the back-off of the first', async () => {
    start();
    fixture.transport.answer = () => (fixture.transport.sent.length === 1 ? refused() : CONFIRMED);
    const [first, second] = await fixture.publish(...keyed(2));
    await fixture.clock.advance(900);
    expect(fixture.transport.sentIds).toEqual([first]);
    await fixture.clock.advance(200);
    expect(fixture.transport.sentIds).toEqual([first, first, second]);
  });

  it('born blocked, while the one before was completed before the COMMIT: promoted right after it', async () => {
    start();
    fixture.transport.answer = () => 'never';
    const [first] = await fixture.publish(...keyed(1));
    const commit = await fixture.prepare([stagedMessage({ ...keyed(1)[0], id: 'second' })]);
    fixture.transport.answer = () => CONFIRMED;
    fixture.transport.settle(first!);
    await fixture.clock.advance(10);
    expect(fixture.statusOf(first!)).toBe('sent');
    expect(fixture.statusOf('second')).toBe('blocked');

    commit();
    await settled();
    expect(fixture.transport.sentIds).toEqual([first, 'second']);
  });

  it('born blocked because of a strict isolation: promoted right after the commit', async () => {
    start();
    const commit = await fixture.prepare([stagedMessage({ key: 'k', id: 'strict' })], 'SERIALIZABLE');
    expect(fixture.statusOf('strict')).toBe('blocked');
    commit();
    await settled();
    expect(fixture.transport.sentIds).toEqual(['strict']);
  });

  it('a delayed one holds those behind it, and is not sent before its time', async () => {
    start();
    const [delayed, next] = await fixture.publish({ key: 'k', delayMs: 5_000 }, { key: 'k' });
    await fixture.clock.advance(4_900);
    expect(fixture.transport.sent).toEqual([]);
    await fixture.clock.advance(200);
    expect(fixture.transport.sentIds).toEqual([delayed, next]);
  });

  it.each([
    ['park', 1],
    ['skip', 2],
  ] as const)('behind a dead letter, onDeadLetter: %s', async (onDeadLetter, sent) => {
    start({ settings: { onDeadLetter } });
    fixture.transport.answer = () => (fixture.transport.sent.length === 1 ? refused(false) : CONFIRMED);
    const [, second] = await fixture.publish(...keyed(2));
    await fixture.clock.advance(100);
    expect(fixture.transport.sent).toHaveLength(sent);
    expect(fixture.statusOf(second!)).toBe(sent === 2 ? 'sent' : 'blocked');
  });

  it('are promoted for others where this process does not send them', async () => {
    start({ settings: { role: 'publisher' } });
    let woken = 0;
    fixture.database.onNotify(() => (woken += 1));
    const [first] = await fixture.insertDue(...keyed(1));
    const commit = await fixture.prepare([stagedMessage({ key: 'order-1', id: 'second' })]);
    await fixture.store.complete([first!]);
    commit();
    await fixture.clock.advance(100);
    expect(fixture.database.row('second')).toMatchObject({ status: 'pending', token: null });
    expect(woken).toBe(1);
  });

  it('of a hot key are looked after by few statements where others send them', async () => {
    start({ settings: { role: 'publisher', relay: { notifyDelayMs: 20 } } });
    await fixture.insertDue(...keyed(1));
    for (let round = 0; round < 100; round += 1) {
      await fixture.publish(...keyed(1));
      await fixture.clock.advance(1);
    }
    expect(fixture.count('promote')).toBeGreaterThan(0);
    expect(fixture.count('promote')).toBeLessThanOrEqual(5);
  });

  it('that still gather are promoted before the process ends', async () => {
    start({ settings: { role: 'publisher' } });
    const [first] = await fixture.insertDue(...keyed(1));
    const commit = await fixture.prepare([stagedMessage({ key: 'order-1', id: 'second' })]);
    await fixture.store.complete([first!]);
    commit();
    expect(fixture.statusOf('second')).toBe('blocked');
    await fixture.stop();
    expect(fixture.statusOf('second')).toBe('pending');
  });

  it('are promoted when the database is back', async () => {
    start();
    fixture.database.before = (statement) => {
      if (statement === 'promote') throw new Error('connection refused');
    };
    const ids = await fixture.publish(...keyed(3));
    await fixture.clock.advance(2_000);
    expect(fixture.transport.sent).toHaveLength(1);
    fixture.database.before = () => undefined;
    await fixture.clock.advance(3_000);
    expect(fixture.transport.sentIds).toEqual(ids);
  });

  it('orphaned by a crash: the sweeper promotes them within its interval', async () => {
    start();
    const [first, second] = await fixture.insertDue(...keyed(2));
    await fixture.store.complete([first!]);
    await fixture.clock.advance(5_100);
    expect(fixture.statusOf(second!)).toBe('sent');
  });

  it('held by a dead letter that is purged: go on at once', async () => {
    start({
      settings: { retention: { deadLetterMs: 1_000, intervalMs: 2_000 }, relay: { sweepIntervalMs: 60_000 } },
    });
    fixture.transport.answer = () => (fixture.transport.sent.length === 1 ? refused(false) : CONFIRMED);
    const [first, ...others] = await fixture.publish(...keyed(3));
    await fixture.clock.advance(1_900);
    expect(fixture.transport.sentIds).toEqual([first]);
    await fixture.clock.advance(300);
    expect(fixture.transport.sentIds).toEqual([first, ...others]);
  });

  it('look for their successors with one statement for many keys', async () => {
    start();
    await fixture.publish(...Array.from({ length: 50 }, (_, index) => ({ key: `key-${index}` })));
    await fixture.clock.advance(10);
    expect(fixture.count('promote')).toBeLessThanOrEqual(2);
  });

  it('are given back, with the queue full, and still leave in order', async () => {
    start({
      settings: { relay: { queueSizeMax: 2 } },
      transports: { main: new FakeTransport({ concurrencyMax: 1 }) },
    });
    const ids: string[] = [];
    for (let round = 0; round < 6; round += 1) ids.push(...(await fixture.publish({ key: 'k' }, {}, {}, {})));
    await fixture.clock.advance(10_000);
    const ofKey = fixture.transport.sent.filter(({ key }) => key === 'k').map(({ id }) => id);
    expect(ofKey).toEqual(ids.filter((_, index) => index % 4 === 0));
    expect(fixture.transport.sent).toHaveLength(24);
  });
});
