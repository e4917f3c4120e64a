import { Logger } from '@nestjs/common';
import { OutboxEvents } from '../../../lib/core/events';
import { type AlarmCallback, DeadLetterAlarm } from '../../../lib/dead-letter/dead-letter-alarm';
import { deferred } from '../../support/signal';
import { deadRecord, FakeAlarmStore } from '../support/fake-alarm-store';
import { ManualClock, settled } from '../support/manual-clock';

const LEASE_MS = 30_000;
const DEAD = {
  id: 'm-1',
  type: 't',
  transport: 'main',
  destination: 'd',
  key: null,
  attempts: 10,
  error: 'no',
};
const DEAD_AT_CONSUMER = { consumer: 'carts', messageKey: 'm-2', attempts: 5, error: 'boom' };

describe('the alarm for dead letters', () => {
  const events = new OutboxEvents();
  const errors: string[] = [];
  const warnings: string[] = [];
  let alarm: DeadLetterAlarm;
  let clock: ManualClock;
  let store: FakeAlarmStore;
  let depth = 0;

  function start(callback: AlarmCallback | undefined): void {
    const outside = <T>(work: () => T): T => {
      depth += 1;
      try {
        return work();
      } finally {
        depth -= 1;
      }
    };
    alarm = new DeadLetterAlarm({ events, store, alarm: callback, clock, leaseMs: LEASE_MS, outside });
    alarm.start();
    alarm.start();
  }
  const ringDue = (): Promise<void> => alarm.ringDue(() => false);

  beforeEach(() => {
    errors.length = 0;
    warnings.length = 0;
    clock = new ManualClock();
    store = new FakeAlarmStore();
    Logger.overrideLogger({
      log: () => undefined,
      warn: (text: string) => warnings.push(text),
      error: (text: string) => errors.push(text),
    });
  });

  afterEach(async () => {
    await alarm.stop();
    Logger.overrideLogger(false);
  });

  it('calls back once for each, on both sides, outside of any transaction, and logs once at error', async () => {
    const calls: unknown[] = [];
    start((event) => void calls.push([event, depth]));
    events.emit('message.deadLetter', DEAD);
    await alarm.ring(DEAD_AT_CONSUMER, 1_000);
    expect(calls).toEqual([
      [DEAD, 1],
      [DEAD_AT_CONSUMER, 1],
    ]);
    expect(errors).toEqual([
      'Message m-1 (t) is a dead letter after 10 attempts: no',
      'Message m-2 is a dead letter of carts after 5 attempts: boom',
    ]);
  });

  it.each<[string, AlarmCallback]>([
    [
      'throws',
      () => {
        throw new Error('pager is down');
      },
    ],
    ['rejects', () => Promise.reject(new Error('pager is down'))],
  ])('survives a callback that %s, and leaves its alarm due', async (_, callback) => {
    start(callback);
    events.emit('message.deadLetter', DEAD);
    events.emit('message.deadLetter', DEAD);
    await alarm.ring(DEAD_AT_CONSUMER, 1_000);
    await clock.advance(1_000);
    expect(errors.filter((text) => text.includes('pager is down'))).toHaveLength(3);
    expect(store.marked).toEqual([]);
  });

  describe('of the outbox', () => {
    it('marks what was heard in one statement, and tells how long ago its ringing began', async () => {
      const gate = deferred<void>();
      start((event) => ('id' in event && event.id === 'm-1' ? gate.promise : undefined));
      events.emit('message.deadLetter', DEAD);
      await clock.advance(2_000);
      expect(store.marked).toEqual([]);
      events.emit('message.deadLetter', { ...DEAD, id: 'm-2' });
      events.emit('message.deadLetter', { ...DEAD, id: 'm-3' });
      gate.resolve();
      await clock.advance(1_000);
      expect(store.batches).toEqual([3]);
      expect(new Map(store.marked.map(({ id, sinceMs }) => [id, sinceMs]))).toEqual(
        new Map([
          ['m-1', 2_020],
          ['m-2', 20],
          ['m-3', 20],
        ]),
      );
    });

    it('has its alarm in the log, where there is no callback', async () => {
      start(undefined);
      events.emit('message.deadLetter', DEAD);
      await clock.advance(1_000);
      expect(errors).toHaveLength(1);
      expect(store.markedIds).toEqual(['m-1']);
    });

    it('does not forget what it could not mark', async () => {
      start(() => undefined);
      store.before = () => Promise.reject(new Error('the database is away'));
      events.emit('message.deadLetter', DEAD);
      await clock.advance(1_000);
      expect(warnings.join()).toMatch(/alarms of 1 dead letters.*may ring once more.*database is away/);
      await expect(ringDue()).rejects.toThrow('the database is away');
      store.before = () => undefined;
      await ringDue();
      expect(store.marked).toEqual([{ id: 'm-1', sinceMs: 1_000 }]);
      expect(store.batches).toEqual([1]);
    });

    it('rings for those whose process died before it could, and says since when they are dead', async () => {
      const calls: unknown[] = [];
      start((event) => void calls.push(event));
      const record = deadRecord({ lastError: 'expired' });
      store.due = [record];
      await ringDue();
      await clock.advance(1_000);
      const { id, type, transport, destination, key, attempts } = record;
      expect(calls).toEqual([{ id, type, transport, destination, key, attempts, error: 'expired' }]);
      expect(errors).toEqual([
        `Message ${id} (${type}) is a dead letter since 2029-12-31T23:59:00.000Z, and nobody has heard its alarm yet: expired`,
      ]);
      expect(store.markedIds).toEqual([id]);
    });

    it('goes on until nothing is due, a hundred at a time', async () => {
      let [open, most] = [0, 0];
      start(async () => {
        open += 1;
        most = Math.max(most, open);
        await settled(1);
        open -= 1;
      });
      store.due = Array.from({ length: 250 }, () => deadRecord());
      await ringDue();
      await clock.advance(1_000);
      expect([most, store.takes, store.marked.length]).toEqual([100, 3, 250]);
    });

    it('leaves a callback alone that hears nothing, until the next time', async () => {
      let calls = 0;
      start(() => {
        calls += 1;
        throw new Error('pager is down');
      });
      store.due = Array.from({ length: 250 }, () => deadRecord());
      await ringDue();
      expect(calls).toBe(100);
      await ringDue();
      expect(calls).toBe(200);
      expect(store.marked).toEqual([]);
    });

    it('takes no more when it is to stop', async () => {
      start(() => undefined);
      store.due = Array.from({ length: 250 }, () => deadRecord());
      await alarm.ringDue(() => store.takes === 1);
      expect(store.takes).toBe(1);
    });

    it('waits for a callback no longer than its lease, and counts it when it ends late', async () => {
      const gate = deferred<void>();
      start(() => gate.promise);
      store.due = [deadRecord()];
      let ended = false;
      const ringing = ringDue().then(() => (ended = true));
      await clock.advance(LEASE_MS - 1);
      expect(ended).toBe(false);
      await clock.advance(1);
      await ringing;
      expect(errors.at(-1)).toMatch(`has not ended after ${LEASE_MS} ms`);
      expect(store.marked).toEqual([]);
      gate.resolve();
      await clock.advance(1_000);
      expect(store.marked).toMatchObject([{ sinceMs: LEASE_MS + 20 }]);
    });
  });

  describe('of a consumer', () => {
    it('rings for a message that cannot be read and so has no key', async () => {
      const calls: unknown[] = [];
      start((event) => void calls.push(event));
      await alarm.ring({ ...DEAD_AT_CONSUMER, messageKey: null }, 1_000);
      expect(calls).toHaveLength(1);
      expect(errors[0]).toMatch('Message without a key is a dead letter of carts');
    });

    it('has its caller wait until the callback has ended, and no longer than it may', async () => {
      const gates = [deferred<void>(), deferred<void>()];
      let calls = 0;
      start(() => gates[calls++]?.promise);
      const ended: string[] = [];
      void alarm.ring(DEAD_AT_CONSUMER, 5_000).then(() => ended.push('first'));
      void alarm.ring(DEAD_AT_CONSUMER, 5_000).then(() => ended.push('second'));
      await clock.advance(4_999);
      expect(ended).toEqual([]);
      gates[1]?.resolve();
      await settled();
      expect(ended).toEqual(['second']);
      await clock.advance(1);
      expect(ended).toEqual(['second', 'first']);
      expect(clock.armed).toBe(0);
      gates[0]?.resolve();
    });

    it('marks no row', async () => {
      start(() => undefined);
      await alarm.ring(DEAD_AT_CONSUMER, 1_000);
      await clock.advance(1_000);
      expect(store.batches).toEqual([]);
    });
  });

  it('lets callbacks end when it stops, marks them, and rings no more', async () => {
    const gate = deferred<void>();
    let calls = 0;
    start(() => {
      calls += 1;
      return gate.promise;
    });
    events.emit('message.deadLetter', DEAD);
    let stopped = false;
    const stopping = alarm.stop().then(() => (stopped = true));
    await settled();
    expect(stopped).toBe(false);
    gate.resolve();
    await stopping;
    expect(store.markedIds).toEqual(['m-1']);
    events.emit('message.deadLetter', DEAD);
    expect(calls).toBe(1);
    expect(clock.armed).toBe(0);
  });
});
