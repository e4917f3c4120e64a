import { CONFIRMED, FakeTransport, UNREACHABLE } from '../support/fake-transport';
import { settled } from '../support/manual-clock';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';
import { stagedMessage } from '../support/staged-message';

describe('the fast path', () => {
  let fixture: RelayFixture;

  function start(given: GivenRelay = {}): RelayFixture {
    fixture = new RelayFixture(given);
    return fixture;
  }

  afterEach(() => fixture.stop());

  it('sends after the commit, from memory, without a claim', async () => {
    start();
    await settled();
    const claims = fixture.count('claim');
    const commit = await fixture.prepare([stagedMessage()]);
    await settled();
    expect(fixture.transport.sent).toEqual([]);

    commit();
    await settled();
    expect(fixture.transport.sent).toHaveLength(1);
    expect(fixture.count('claim')).toBe(claims);
  });

  it('does not send while the committing code still runs', async () => {
    start();
    const commit = await fixture.prepare([stagedMessage()]);
    commit();
    expect(fixture.transport.sent).toEqual([]);
    await Promise.resolve();
    expect(fixture.transport.sent).toEqual([]);
  });

  it('gathers the commits of one turn into one call of the transport', async () => {
    start();
    const commits = await Promise.all(
      [1, 2, 3].map(() => fixture.prepare([stagedMessage(), stagedMessage()])),
    );
    commits.forEach((commit) => commit());
    await settled();
    expect(fixture.transport.batches).toEqual([6]);
  });

  it('sends nothing of a transaction that was rolled back after the write', async () => {
    start();
    const transaction = fixture.database.begin();
    await fixture.relay.commitListener.write(transaction, [stagedMessage()], null);
    transaction.rollback();
    fixture.database.rows.length = 0;
    await fixture.clock.advance(60_000);
    expect(fixture.transport.sent).toEqual([]);
  });

  it('lets no transport wait for another', async () => {
    const slow = new FakeTransport({ concurrencyMax: 1 });
    slow.answer = () => 'never';
    const quick = new FakeTransport();
    start({ transports: { slow, quick } });
    await fixture.publish({ transport: 'slow' }, { transport: 'slow' }, { transport: 'quick' });
    expect(slow.sent).toHaveLength(1);
    expect(quick.sent).toHaveLength(1);
  });

  it.each([
    ['the lease is just long enough', 19_000, 1],
    ['too little of the lease is left for a slow send', 19_001, 0],
    ['the lease is over', 30_001, 0],
  ])('when the COMMIT took its time and %s', async (_, commitMs, sent) => {
    start();
    const commit = await fixture.prepare([stagedMessage({ id: 'slow-commit' })]);
    await fixture.clock.advance(commitMs);
    commit();
    await settled();
    expect(fixture.transport.sent).toHaveLength(sent);

    // Whatever the fast path left, the resend job sends, once.
    await fixture.clock.advance(1_100);
    expect(fixture.statusOf('slow-commit')).toBe('sent');
    expect(fixture.transport.sent).toHaveLength(1);
  });

  it('starts the deadline before the INSERT, however long that takes', async () => {
    start();
    fixture.database.before = async (statement) => {
      if (statement === 'write') await fixture.clock.advance(19_001);
    };
    const commit = await fixture.prepare([stagedMessage()]);
    fixture.relay.pause();
    fixture.relay.resume();
    fixture.database.before = () => undefined;
    commit();
    await settled();
    expect(fixture.transport.sent).toEqual([]);
  });

  it('gives back what waited in memory until its lease became too short', async () => {
    start({ transports: { main: new FakeTransport({ concurrencyMax: 1 }) } });
    fixture.transport.answer = () => 'never';
    const [first, second] = await fixture.publish({}, {});
    await fixture.clock.advance(20_500);
    expect(fixture.transport.sentIds).toEqual([first]);
    expect(fixture.database.row(second!)).toMatchObject({ token: null, claims: 0 });
  });

  it('gives back the leases of what does not fit into the queue, in one statement', async () => {
    start({
      settings: { relay: { queueSizeMax: 3 } },
      transports: { main: new FakeTransport({ concurrencyMax: 2 }) },
    });
    fixture.transport.answer = () => 'never';
    const ids = await fixture.publish(...Array.from({ length: 8 }, () => ({})));
    await fixture.clock.advance(10);

    expect(fixture.count('release')).toBe(1);
    const free = ids.filter((id) => fixture.database.row(id).token === null);
    expect(free).toEqual(ids.slice(3));
    fixture.transport.answer = () => CONFIRMED;
    fixture.transport.settleAll();
    await fixture.clock.advance(1_000);
    expect(ids.map((id) => fixture.statusOf(id))).toEqual(ids.map(() => 'sent'));
    expect(fixture.transport.sent).toHaveLength(8);
  });

  it('leaves a delayed message to the resend job, which sends it when it is due', async () => {
    start({ settings: { relay: { intervalMs: 60_000, idleIntervalMaxMs: 60_000 } } });
    const [id] = await fixture.publish({ delayMs: 2_300 });
    expect(fixture.database.row(id!)).toMatchObject({ token: null, status: 'pending' });
    await fixture.clock.advance(2_290);
    expect(fixture.transport.sent).toEqual([]);
    await fixture.clock.advance(40);
    expect(fixture.transport.sentIds).toEqual([id]);
  });

  it('tells of the commit, also of blocked messages', async () => {
    start();
    fixture.transport.answer = () => 'never';
    await fixture.publish({ key: 'a' }, { key: 'a' });
    expect(fixture.eventsOf('message.committed')).toMatchObject([{ blocked: false }, { blocked: true }]);
  });

  describe('is not taken, and rows are born due,', () => {
    const born = async (): Promise<number> => {
      const commit = await fixture.prepare([stagedMessage({ id: 'born' })]);
      const leased = fixture.database.row('born').claims;
      commit();
      await settled();
      return leased;
    };

    it('never where it can be taken', async () => {
      start();
      expect(await born()).toBe(1);
    });

    it.each<[string, GivenRelay]>([
      ['before the relay is started', { started: false }],
      ['with fastPath: false', { settings: { relay: { fastPath: false } } }],
      ["with role: 'relay'", { settings: { role: 'relay' } }],
      ["with role: 'publisher'", { settings: { role: 'publisher' } }],
    ])('%s', async (_, given) => {
      start(given);
      expect(await born()).toBe(0);
    });

    it('while the transport is paused', async () => {
      start();
      fixture.relay.pause('main');
      expect(await born()).toBe(0);
      await fixture.clock.advance(5_000);
      expect(fixture.transport.sent).toEqual([]);
      fixture.relay.resume('main');
      await fixture.clock.advance(100);
      expect(fixture.statusOf('born')).toBe('sent');
    });

    it('while the transport is unreachable', async () => {
      start();
      fixture.transport.reachable = false;
      fixture.transport.answer = () => UNREACHABLE;
      await fixture.publish({});
      expect(await born()).toBe(0);
    });

    it('once the shutdown has begun', async () => {
      start();
      void fixture.relay.stop();
      expect(await born()).toBe(0);
    });
  });

  it('wakes the own resend job when rows are born due in a process that sends', async () => {
    start({ settings: { relay: { fastPath: false, listen: false } } });
    await fixture.clock.advance(5_000);
    const [id] = await fixture.publish({});
    await fixture.clock.advance(30);
    expect(fixture.statusOf(id!)).toBe('sent');
  });

  it('runs what outlives the transaction outside of it', async () => {
    let depth = 0;
    const outside = <T>(work: () => T): T => {
      depth += 1;
      try {
        return work();
      } finally {
        depth -= 1;
      }
    };
    start({ dependencies: { outside } });
    const commit = await fixture.prepare([stagedMessage()]);
    const depths: number[] = [];
    fixture.events.on('message.committed', () => depths.push(depth));
    commit();
    expect(depths).toEqual([1]);
  });

  it('never lets the committed transaction hear of a failure', async () => {
    start({
      dependencies: {
        outside: () => {
          throw new Error('no');
        },
      },
      started: false,
    });
    const commit = await fixture.prepare([stagedMessage()]);
    expect(commit).not.toThrow();
    fixture = new RelayFixture();
  });

  it('fails the transaction when the write fails', async () => {
    start();
    fixture.database.before = (statement) => {
      if (statement === 'write') throw new Error('disk full');
    };
    await expect(fixture.prepare([stagedMessage()])).rejects.toThrow('disk full');
    fixture.database.before = () => undefined;
  });

  it('tells of lost messages and escaped writes, with neither payloads nor whole statements', () => {
    start();
    fixture.relay.commitListener.lost([stagedMessage({ id: 'lost' })], 'released');
    fixture.relay.commitListener.escaped(`INSERT INTO t VALUES ('${'x'.repeat(500)}')`, 'Orders.place');
    expect(fixture.eventsOf('message.lost')).toMatchObject([{ id: 'lost', reason: 'released' }]);
    const [escaped] = fixture.eventsOf('write.escaped');
    expect(escaped).toMatchObject({ transaction: 'Orders.place' });
    expect(escaped!.query).toHaveLength(200);
  });
});
