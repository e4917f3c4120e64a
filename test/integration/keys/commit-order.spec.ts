import { isTransientError } from '../../../lib/store/database-errors';
import type { IsolationLevel } from '../../../lib/core/transactions.port';
import { signal } from '../../support/signal';
import { type Instance, Setting } from './two-instances';

const ISOLATIONS: readonly IsolationLevel[] = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'];
const WORKERS = 8;
const ROUNDS = 12;

/** A committed transaction: between these two moments, its COMMIT took effect. */
interface Committed {
  readonly ids: readonly string[];
  readonly key: string;
  /** Its place among the transactions of its key, where the database counted. */
  readonly place: number | null;
  readonly fromMs: number;
  readonly untilMs: number;
}

describe.each(['postgres', 'mysql'] as const)('messages of two instances on %s', (type) => {
  let setting: Setting;
  /** One sends right after the commit, the rows of the other one are born due. */
  let instances: [Instance, Instance];

  beforeAll(async () => {
    setting = await Setting.open(type);
    const relay = { intervalMs: 50, idleIntervalMaxMs: 100 };
    instances = [
      await setting.start({ relay: { ...relay, fastPath: true } }),
      await setting.start({ relay: { ...relay, fastPath: false } }),
    ];
    await setting.query('CREATE TABLE counter (name varchar(20) PRIMARY KEY, n int NOT NULL)');
  }, 60_000);

  afterAll(() => setting?.close());

  /** Runs it again, as an application does, when the database says that somebody else was first. */
  async function untilCommitted<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!isTransientError(error)) throw error;
      }
    }
  }

  function transact(
    { outbox, dataSource }: Instance,
    key: string,
    isCounted: boolean,
    isolation: IsolationLevel,
  ): Promise<Committed> {
    return untilCommitted(async () => {
      let [fromMs, place]: [number, number | null] = [0, null];
      const ids: string[] = [];
      await outbox.transaction(
        async () => {
          ids.push(await outbox.publish('event.first', {}, { key }));
          if (isCounted) {
            await dataSource.manager.query(`UPDATE counter SET n = n + 1 WHERE name = '${key}'`);
            const sql = `SELECT n FROM counter WHERE name = '${key}'`;
            place = Number((await dataSource.manager.query<{ n: number }[]>(sql))[0]?.n);
          }
          ids.push(await outbox.publish('event.second', {}, { key }));
          fromMs = performance.now();
        },
        { isolation },
      );
      return { ids, key, place, fromMs, untilMs: performance.now() };
    });
  }

  it.each(ISOLATIONS)(
    'leave in the order of their commits, under %s',
    async (isolation) => {
      const name = isolation.toLowerCase().replace(' ', '-');
      const [counted, free] = [
        [`${name} 1`, `${name} 2`],
        [`${name} 3`, `${name} 4`, `${name} 5`],
      ];
      for (const key of counted) await setting.query(`INSERT INTO counter VALUES ('${key}', 0)`);
      const committed: Committed[] = [];
      const keyless: string[] = [];

      const worker = async (number: number): Promise<void> => {
        for (let round = 0; round < ROUNDS; round += 1) {
          // Each key is published by turns on both instances, and so leaves by turns on the fast path and by resend.
          const instance = instances[(number + round) % 2] as Instance;
          const keys = (number + round) % 3 === 0 ? counted : free;
          const key = keys[(number * 7 + round) % keys.length] as string;
          committed.push(await transact(instance, key, keys === counted, isolation));
          keyless.push(
            await untilCommitted(() =>
              instance.outbox.transaction(() => instance.outbox.publish('event.keyless', {}), { isolation }),
            ),
          );
        }
      };
      await Promise.all(Array.from({ length: WORKERS }, (_, number) => worker(number)));
      const order = await setting.arrival([...committed.flatMap(({ ids }) => ids), ...keyless], 60_000);

      const places = new Map(order.map((id, place) => [id, place]));
      const placesOf = ({ ids }: Committed): number[] => ids.map((id) => places.get(id) ?? -1);
      for (const key of counted) {
        const ofKey = committed
          .filter((one) => one.key === key)
          .sort((a, b) => Number(a.place) - Number(b.place));
        expect(ofKey.map(({ place }) => place)).toEqual(ofKey.map((_, index) => index + 1));
        expect(order.filter((id) => ofKey.some(({ ids }) => ids.includes(id)))).toEqual(
          ofKey.flatMap(({ ids }) => ids),
        );
      }
      for (const key of free) {
        const ofKey = committed.filter((one) => one.key === key);
        for (const one of ofKey) {
          expect(placesOf(one)).toEqual([...placesOf(one)].sort((a, b) => a - b));
          const earlier = ofKey.filter(({ untilMs }) => untilMs < one.fromMs);
          expect(
            earlier.filter((before) => Math.max(...placesOf(before)) > Math.min(...placesOf(one))),
          ).toEqual([]);
        }
        // No transaction's messages stand between those of another one of the key.
        const rows = await setting.query<{ id: string }>(
          `SELECT id FROM outbox_message WHERE ${type === 'mysql' ? '`key`' : '"key"'} = '${key}' ORDER BY seq`,
        );
        expect(order.filter((id) => ofKey.some(({ ids }) => ids.includes(id)))).toEqual(
          rows.map(({ id }) => id),
        );
      }
      expect(committed).toHaveLength(WORKERS * ROUNDS);
    },
    90_000,
  );

  it('of one key wait for each other only while a transaction is in its last moment', async () => {
    const [one, other] = instances;
    const [staged, finish, written, goOn, worked] = ['staged', 'finish', 'written', 'go on', 'worked'].map(
      signal,
    );
    const key = 'hot';
    const first = one.outbox.transaction(async () => {
      const id = await one.outbox.publish('event.hot', {}, { key });
      await one.dataSource.manager.query(`INSERT INTO counter VALUES ('first', 1)`);
      staged?.fire();
      await finish?.wait();
      return id;
    });
    await staged?.wait();
    // With its message staged and its business done, the first one still keeps nobody from committing.
    const quick = await other.outbox.transaction(() => other.outbox.publish('event.hot', {}, { key }));

    const { outbox: store } = one.parts.stores;
    const write = store.write.bind(store);
    store.write = async (statements, ...given) => {
      // Its COMMIT is to come later than its INSERT, so that there is a last moment to look into.
      const result = await write({ query: (...args) => statements.query(...args) }, ...given);
      written?.fire();
      await goOn?.wait();
      return result;
    };
    finish?.fire();
    await written?.wait();
    store.write = write;

    // Now it is in its last moment. The next one does all its work, and waits at its own end.
    let isCommitted = false;
    const last = other.outbox
      .transaction(async () => {
        const id = await other.outbox.publish('event.hot', {}, { key });
        await other.dataSource.manager.query(`INSERT INTO counter VALUES ('last', 1)`);
        worked?.fire();
        return id;
      })
      .finally(() => (isCommitted = true));
    await worked?.wait();
    await setting.someoneWaitsForALock();
    const keyless = await other.outbox.transaction(() => other.outbox.publish('event.keyless', {}));
    await setting.arrival([quick, keyless]);
    expect(isCommitted).toBe(false);
    goOn?.fire();
    const ids = [quick, await first, await last];
    expect(await setting.arrival(ids)).toEqual(ids);
  });
});
