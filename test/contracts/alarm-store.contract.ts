import { randomUUID } from 'node:crypto';
import type { ClaimedMessage, StagedMessage } from '../../lib/core/message';
import type { TestDatabaseType } from '../support/shared-servers';
import { message, openStores, type StoreFixture, terms } from './outbox-store.harness';

const LEASE_MS = 30_000;

/** What every AlarmStore does, and what makes an alarm due or takes it away. */
export function describeAlarmStore(type: TestDatabaseType): void {
  let fixture: StoreFixture;
  beforeAll(async () => {
    fixture = await openStores(type, { isolation: 'READ COMMITTED' });
  });
  afterEach(() => fixture.clear());
  afterAll(() => fixture?.drop());

  const ids = (messages: readonly { readonly id: string }[]): string[] => messages.map(({ id }) => id);
  const takeDue = async (limit = 100): Promise<string[]> => ids(await fixture.stores.alarms.takeDue(limit));
  const heard = (...some: string[]): Promise<void> =>
    fixture.stores.alarms.heard(some.map((id) => ({ id, sinceMs: 0 })));
  const isDue = async (id: string): Promise<boolean> => (await fixture.row(id)).alarm_due_at !== null;
  async function refuse(messages: readonly ClaimedMessage[], retryInMs: number | null): Promise<void> {
    await fixture.stores.outbox.fail(
      messages.map(({ id, token }) => ({ id, token, error: 'refused', retryInMs })),
    );
  }
  async function bury(count: number): Promise<StagedMessage[]> {
    const messages = Array.from({ length: count }, () => message());
    await fixture.publish(messages);
    await refuse(await fixture.stores.outbox.claim(['default'], count, terms()), null);
    return messages;
  }

  describe('an alarm', () => {
    it('is due a lease after a refusal for good, and not after one that is tried again', async () => {
      const again = message();
      await fixture.publish([again]);
      await refuse(await fixture.stores.outbox.claim(['default'], 1, terms()), 600_000);
      const [dead] = await bury(1);
      expect([await isDue(again.id), await isDue(dead?.id ?? '')]).toEqual([false, true]);
      await fixture.elapse(LEASE_MS / 2);
      expect(await takeDue()).toEqual([]);
      await fixture.elapse(LEASE_MS / 2);
      expect(await takeDue()).toEqual([dead?.id]);
    });

    it('is due a lease after a quarantine: of what kills its sender, and not of what has expired', async () => {
      const [poisonous, expired, healthy] = [message(), message({ expiresInMs: 1_000 }), message()];
      await fixture.publish([poisonous]);
      await fixture.stores.outbox.claim(['default'], 9, terms());
      await fixture.publish([expired]);
      await fixture.elapse(60_000);
      await fixture.publish([healthy]);
      expect(await fixture.stores.outbox.quarantine(1, 9)).toHaveLength(2);
      expect(await isDue(healthy.id)).toBe(false);
      expect(await takeDue()).toEqual([]);
      await fixture.elapse(LEASE_MS);
      const due = await fixture.stores.alarms.takeDue(9);
      expect(ids(due)).toEqual([poisonous.id]);
      expect(due[0]).toMatchObject({ status: 'dead_letter', type: 'order.placed', attempts: 0 });
      expect(due[0]?.lastError).toMatch('Quarantined');
      expect(due[0]?.deadAt).toBeInstanceOf(Date);
      expect(due[0]).not.toHaveProperty('payload');
    });

    it.each(['redrive', 'discard'] as const)('is taken away by a %s', async (operation) => {
      const [dead] = await bury(1);
      await fixture.stores.deadLetters[operation]({}, 9);
      expect(await isDue(dead?.id ?? '')).toBe(false);
    });
  });

  describe('takeDue', () => {
    it('gives the oldest first, as many as asked for, and none twice', async () => {
      const dead = await bury(5);
      await fixture.elapse(LEASE_MS);
      expect(
        [await takeDue(2), await takeDue(2), await takeDue(2), await takeDue(2)].map(({ length }) => length),
      ).toEqual([2, 2, 1, 0]);
      await fixture.elapse(2 * LEASE_MS);
      expect(await takeDue()).toEqual(ids(dead));
    });

    it('shares them among callers', async () => {
      const dead = await bury(60);
      await fixture.elapse(LEASE_MS);
      const taken = await Promise.all([1, 2, 3, 4].map(() => takeDue(20)));
      const rest = await takeDue();
      expect([...taken.flat(), ...rest].sort()).toEqual(ids(dead).sort());
    });

    it('makes it due again after a lease, then after as long as it has been dead, at last every five minutes', async () => {
      const [dead] = await bury(1);
      const id = dead?.id ?? '';
      const pauses: number[] = [];
      for (let ring = 0; ring < 7; ring += 1) {
        const row = await fixture.row(id);
        await fixture.elapse(msOf(row.alarm_due_at) - Date.now() + 200);
        expect(await takeDue()).toEqual([id]);
        pauses.push(Math.round((msOf((await fixture.row(id)).alarm_due_at) - Date.now()) / 10_000) * 10);
      }
      expect(pauses).toEqual([30, 60, 120, 240, 300, 300, 300]);
    });
  });

  describe('heard', () => {
    it('ends it, for good and for those that are named', async () => {
      const [one, two, three] = ids(await bury(3)) as [string, string, string];
      await heard(one, three);
      await heard(one);
      await fixture.elapse(LEASE_MS);
      expect(await takeDue()).toEqual([two]);
      await heard(two);
      await fixture.elapse(3_600_000);
      expect(await takeDue()).toEqual([]);
      expect(await fixture.stores.deadLetters.count({})).toBe(3);
    });

    it('does not count for a message that has died once more since the ringing began', async () => {
      const [dead] = ids(await bury(1)) as [string];
      await fixture.stores.deadLetters.redrive({}, 9);
      await heard(dead);
      await refuse(await fixture.stores.outbox.claim(['default'], 9, terms()), null);
      await fixture.stores.alarms.heard([{ id: dead, sinceMs: 60_000 }]);
      expect(await isDue(dead)).toBe(true);
      await heard(dead);
      expect(await isDue(dead)).toBe(false);
    });

    it('minds neither nothing, nor strangers, nor more than one statement names', async () => {
      const dead = ids(await bury(1));
      await heard();
      await heard(...dead, ...Array.from({ length: 2_500 }, () => randomUUID()));
      expect(await isDue(dead[0] ?? '')).toBe(false);
    });
  });
}

/** A time of the table, in UTC as the stores write it, whatever the driver made of it. */
function msOf(value: unknown): number {
  if (!(value instanceof Date)) throw new Error(`No time: ${String(value)}`);
  return value.getTime();
}
