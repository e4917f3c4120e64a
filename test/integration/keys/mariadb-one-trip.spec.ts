import type { EntitySubscriberInterface } from 'typeorm';
import { type Instance, Setting } from './two-instances';

const missing = expect.objectContaining({ code: 'OUTBOX_SCHEMA' });

/** Lock, INSERT and COMMIT at once: what nobody looks at in between must be right all the same. */
describe('messages with keys on MariaDB', () => {
  let setting: Setting;
  let instance: Instance;
  beforeAll(async () => {
    setting = await Setting.open('mysql');
    instance = await setting.start();
    await setting.query('CREATE TABLE thing (id int PRIMARY KEY)');
  });
  afterAll(() => setting.close());

  const publish = (key: string, isolation?: 'READ COMMITTED'): Promise<string> =>
    instance.outbox.transaction(
      () => instance.outbox.publish('event.keyed', {}, { key }),
      isolation && { isolation },
    );

  /** What was announced to subscribers before the first answer to any of it, as the last thing. */
  async function sentTogether(work: () => Promise<unknown>): Promise<string[]> {
    let together: string[] = [];
    let answered = true;
    const listener: EntitySubscriberInterface = {
      beforeQuery: ({ query }) => {
        if (answered) together = [];
        answered = false;
        together.push(/^\w+/.exec(query)?.[0] ?? query);
      },
      afterQuery: () => void (answered = true),
    };
    const { subscribers } = instance.dataSource;
    subscribers.push(listener);
    await work();
    subscribers.splice(subscribers.indexOf(listener), 1);
    return together;
  }

  it('take one round trip with their lock, once the level of the sessions is known', async () => {
    const ids = [await publish('known')];
    const together = await sentTogether(async () => ids.push(await publish('known')));
    expect(together).toEqual(['SELECT', 'IF', 'INSERT', 'COMMIT']);
    expect(await setting.arrival(ids)).toEqual(ids);
  });

  it('are looked at under READ COMMITTED, and then go with COMMIT alone', async () => {
    const ids: string[] = [];
    const together = await sentTogether(async () => ids.push(await publish('seen', 'READ COMMITTED')));
    expect(together).toEqual(['INSERT', 'COMMIT']);
    expect(await setting.arrival(ids)).toEqual(ids);
  });

  it('learn anew when the sessions have another level', async () => {
    /** Of all connections of the pool. */
    const setLevel = async (level: string): Promise<void> => {
      const runners = Array.from({ length: 10 }, () => instance.dataSource.createQueryRunner());
      await Promise.all(runners.map((runner) => runner.connect()));
      for (const runner of runners) {
        await runner.query(`SET SESSION TRANSACTION ISOLATION LEVEL ${level}`);
        await runner.release();
      }
    };
    const ids = [await publish('learning')];
    const next = () => sentTogether(async () => ids.push(await publish('learning')));
    expect(await next()).toContain('SELECT');
    await setLevel('READ COMMITTED');
    // This one finds it out, so the next one looks.
    expect(await next()).toContain('SELECT');
    expect(await next()).toEqual(['INSERT', 'COMMIT']);
    await setLevel('REPEATABLE READ');
    expect(await next()).toEqual(['INSERT', 'COMMIT']);
    expect(await next()).toContain('SELECT');
    expect(await setting.arrival(ids)).toEqual(ids);
  });

  it('have several keys and messages in one, and some in more than one packet', async () => {
    const large = 'x'.repeat(1_000_000);
    const publishAll = (payload: object, count: number) =>
      instance.outbox.transaction(async () => {
        const all: string[] = [];
        for (let n = 0; n < count; n += 1)
          all.push(await instance.outbox.publish('event.keyed', payload, { key: `many-${n % 3}` }));
        return all;
      });
    const few = await publishAll({}, 7);
    const many = await publishAll({ large }, 6);
    await setting.arrival([...few, ...many]);
    for (const n of [0, 1, 2]) {
      const ofKey = [...few, ...many].filter((id) => (few.includes(id) ? few : many).indexOf(id) % 3 === n);
      expect(await setting.arrival(ofKey)).toEqual(ofKey);
    }
  });

  it('are refused, with all that their transaction did, where lock rows are missing', async () => {
    await publish('refused');
    const buckets = await setting.query<{ bucket: number }>('SELECT bucket FROM outbox_key');
    await setting.query('DELETE FROM outbox_key');
    const before = await setting.query('SELECT COUNT(*) AS count FROM outbox_message');
    const work = (...keys: string[]) =>
      instance.outbox.transaction(async () => {
        await instance.dataSource.manager.query('INSERT INTO thing VALUES (1)');
        for (const key of keys) await instance.outbox.publish('event.keyed', {}, { key });
      });
    try {
      await expect(work('one')).rejects.toEqual(missing);
      await expect(work('one', 'another', 'a third')).rejects.toEqual(missing);
      await expect(publish('seen', 'READ COMMITTED')).rejects.toEqual(missing);
    } finally {
      await setting.query(
        `INSERT INTO outbox_key VALUES ${buckets.map(({ bucket }) => `(${bucket})`).join(', ')}`,
      );
    }
    expect(await setting.query('SELECT * FROM thing')).toEqual([]);
    expect(await setting.query('SELECT COUNT(*) AS count FROM outbox_message')).toEqual(before);
    const id = await publish('refused');
    expect(await setting.arrival([id])).toEqual([id]);
  });
});
