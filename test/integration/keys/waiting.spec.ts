import type { PublishOptions } from 'nestjs-outbox';
import { waitFor } from '../../support/wait-for';
import { type Instance, Setting } from './two-instances';

const SWEEP_MS = 400;
const LEASE_MS = 1_500;
const IDLE_MS = 500;
/** For the machine: statements, the broker, timers. */
const SLACK_MS = 1_500;
/** Longer than any test: what is due then becomes due when a test says so. */
const HOUR_MS = 3_600_000;

describe.each(['postgres', 'mysql'] as const)('what a message does to its key, on %s', (type) => {
  let setting: Setting;
  let instance: Instance;
  let keys = 0;

  beforeAll(async () => {
    setting = await Setting.open(type);
    instance = await setting.start({
      relay: { leaseMs: LEASE_MS, intervalMs: 100, idleIntervalMaxMs: IDLE_MS, sweepIntervalMs: SWEEP_MS },
    });
  }, 60_000);
  afterAll(() => setting?.close());

  /** One message after the other, with a key that only they have. */
  async function publish(...messages: (PublishOptions & { type?: string })[]): Promise<string[]> {
    const key = `key ${(keys += 1)}`;
    return instance.outbox.transaction(() =>
      instance.outbox.publishAll(
        messages.map((message) => ({ type: 'event.some', payload: {}, key, ...message })),
      ),
    );
  }
  /** A message that no queue is bound for, and that is therefore given up on at once; and others behind it. */
  async function publishBehindDeadLetter(count: number): Promise<[dead: string, others: string[]]> {
    const [dead, ...others] = await publish({ type: 'poison' }, ...Array.from({ length: count }, () => ({})));
    await waitFor(async () => (await setting.statusOf(dead!)) === 'dead_letter');
    return [dead!, others];
  }
  /** A head that nobody takes, which a test then makes what it needs; and two behind it. */
  async function publishBehindDelayed(): Promise<string[]> {
    const ids = await publish({ delayMs: HOUR_MS }, {}, {});
    // Under a strict isolation it is promoted only after its commit.
    await waitFor(async () => (await setting.statusOf(ids[0]!)) === 'pending');
    return ids;
  }
  const update = (id: string, assignments: string): Promise<unknown> =>
    setting.query(`UPDATE outbox_message SET ${assignments} WHERE id = '${id}'`);
  /** The time that a message waits for, or its lease, is over. */
  const itsTimeHasCome = (id: string): Promise<unknown> => update(id, `next_attempt_at = ${setting.inMs(0)}`);
  /** A message without a key passes, which also gives those that must not leave the time to do so. */
  async function expectHeld(...ids: string[]): Promise<void> {
    const keyless = await instance.outbox.transaction(() => instance.outbox.publish('event.some', {}));
    await setting.arrival([keyless]);
    await instance.relay.flush();
    expect(setting.arrived.filter((id) => ids.includes(id))).toEqual([]);
  }

  it('a delayed one holds those behind it until it is sent', async () => {
    const ids = await publishBehindDelayed();
    await expectHeld(...ids);
    await itsTimeHasCome(ids[0]!);
    expect(await setting.arrival(ids)).toEqual(ids);
    const soon = await publish({ delayMs: 1_000 }, {}, {});
    expect(await setting.arrival(soon)).toEqual(soon);
  });

  it('a delayed one behind others waits for them and for its time, and holds the next', async () => {
    const ids = await publish({}, { delayMs: HOUR_MS }, {});
    await setting.arrival(ids.slice(0, 1));
    await expectHeld(...ids.slice(1));
    await itsTimeHasCome(ids[1]!);
    expect(await setting.arrival(ids)).toEqual(ids);
    const soon = await publish({}, { delayMs: 1_000 }, {});
    expect(await setting.arrival(soon)).toEqual(soon);
  });

  it('an expired one is cancelled, and lets the key go on, with all that expired behind it', async () => {
    instance.relay.pause();
    const expired = instance.events.next('message.expired');
    const dead = jest.fn();
    const stop = instance.events.on('message.deadLetter', dead);
    const ids = await publish({ expiresInMs: 1 }, { expiresInMs: 1 }, {}, { expiresInMs: HOUR_MS });
    await expired;
    instance.relay.resume();
    expect(await setting.arrival(ids.slice(2))).toEqual(ids.slice(2));
    expect(await Promise.all(ids.map((id) => setting.statusOf(id)))).toEqual([
      'cancelled',
      'cancelled',
      expect.stringMatching(/sent|pending/),
      expect.stringMatching(/sent|pending/),
    ]);
    stop();
    expect(dead).not.toHaveBeenCalled();
  });

  it('one that expired while it waited is found out when its turn comes', async () => {
    const [first, late, last] = await publish({ delayMs: HOUR_MS }, { expiresInMs: 1 }, {});
    await expectHeld(first!, late!, last!);
    expect(await setting.statusOf(late!)).toBe('blocked');
    await itsTimeHasCome(first!);
    expect(await setting.arrival([first!, last!])).toEqual([first, last]);
    expect(await setting.statusOf(late!)).toBe('cancelled');
  });

  it('a dead letter parks it, until it is discarded: then all leave at once, in order', async () => {
    const [dead, others] = await publishBehindDeadLetter(3);
    await expectHeld(...others);
    await instance.deadLetters.discard(dead);
    expect(await setting.arrival(others)).toEqual(others);
  });

  it('a dead letter that is redriven leaves before those behind it', async () => {
    const [dead, others] = await publishBehindDeadLetter(3);
    // Somebody has put it right.
    await update(dead, `type = 'event.some', destination = 'orders/event.some'`);
    await instance.deadLetters.redrive(dead);
    expect(await setting.arrival([dead, ...others])).toEqual([dead, ...others]);
  });

  it('one in quarantine parks it like any other dead letter', async () => {
    const ids = await publishBehindDelayed();
    await update(ids[0]!, `claims = 99, claim_token = 'gone', next_attempt_at = ${setting.inMs(0)}`);
    await waitFor(async () => (await setting.statusOf(ids[0]!)) === 'dead_letter');
    await expectHeld(...ids);
    await instance.deadLetters.redrive(ids[0]!);
    expect(await setting.arrival(ids)).toEqual(ids);
  });

  it('a dead letter that retention purges lets it go on at once, in order', async () => {
    const [dead, others] = await publishBehindDeadLetter(3);
    await expectHeld(...others);
    await update(dead, `finished_at = ${setting.inMs(-HOUR_MS)}`);
    const cleaning = await setting.start({ retention: { deadLetterMs: 60_000, intervalMs: 100 } });
    expect(await setting.arrival(others)).toEqual(others);
    expect(await setting.statusOf(dead)).toBeUndefined();
    await setting.stop(cleaning);
  });

  describe('when a process dies', () => {
    it('with a message written down as sent: the next one leaves within a sweep', async () => {
      const ids = await publishBehindDelayed();
      await update(ids[0]!, `status = 'sent', finished_at = ${setting.inMs(0)}`);
      expect(await setting.arrival(ids.slice(1), SWEEP_MS + SLACK_MS)).toEqual(ids.slice(1));
    });

    it('with a message in its hands: that one is sent again when its lease is over, and the next ones follow', async () => {
      const ids = await publishBehindDelayed();
      await update(ids[0]!, `claims = 1, claim_token = 'gone', next_attempt_at = ${setting.inMs(HOUR_MS)}`);
      await expectHeld(...ids);
      await update(ids[0]!, `next_attempt_at = ${setting.inMs(LEASE_MS)}`);
      expect(await setting.arrival(ids, LEASE_MS + IDLE_MS + SLACK_MS)).toEqual(ids);
    });
  });
});
