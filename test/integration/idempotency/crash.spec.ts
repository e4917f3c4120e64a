import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { DataSource } from 'typeorm';
import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { type CrashPoint } from './child/consumer';
import { createEffects, effectsOf } from './effects';
import { TestBroker } from './test-broker';

describe.each(['postgres', 'mysql'] as const)('a consumer that is killed, on %s', (type) => {
  let database: TestDatabase;
  let broker: TestBroker;
  let brokerUrl: string;
  let dataSource: DataSource;

  beforeAll(async () => {
    database = await createTestDatabase(type);
    brokerUrl = (await createVhost()).url;
    broker = await TestBroker.connect(brokerUrl);
    dataSource = await new DataSource({ type, url: database.url }).initialize();
    await createEffects(dataSource);
  });

  afterAll(async () => {
    await dataSource?.destroy();
    await broker?.close();
    await database?.drop();
  });

  const start = async (crashPoint: CrashPoint): Promise<{ child: ChildProcess; news: string[] }> => {
    const child = fork(join(__dirname, 'child', 'consumer.ts'), [type, database.url, brokerUrl, crashPoint], {
      execArgv: ['--require', join(__dirname, '../../support/typescript.cjs')],
    });
    const news: string[] = [];
    child.on('message', (message: string) => news.push(message));
    await waitFor(() => news.includes('ready'), { timeoutMs: 25_000, what: 'the child to be ready' });
    return { child, news };
  };

  it.each([
    ['in the handler', ['handled']],
    ['after the commit', ['duplicate']],
    // The original and its copy for the retry both come.
    ['after the retry was published', ['handled', 'duplicate']],
  ] as const)('%s leaves one effect, when the message comes again', async (crashPoint, expected) => {
    const id = randomUUID();
    const doomed = await start(crashPoint);
    const exited = once(doomed.child, 'exit');
    await broker.publish('crash', { id }, { messageId: id });
    expect(await exited).toEqual([null, 'SIGKILL']);
    expect(await effectsOf(dataSource, id)).toHaveLength(crashPoint === 'after the commit' ? 1 : 0);

    const survivor = await start('nowhere');
    await waitFor(() => expected.every((word) => survivor.news.includes(word)), {
      what: expected.join(' and '),
    });
    expect(await effectsOf(dataSource, id)).toHaveLength(1);
    expect(survivor.news.filter((word) => word !== 'ready').sort()).toEqual([...expected].sort());
    const closed = once(survivor.child, 'exit');
    survivor.child.send('close');
    await closed;
    expect(await broker.count('crash')).toBe(0);
  });

  it('in the alarm, whose outcome the acknowledgement waits for: it rings once more', async () => {
    const id = randomUUID();
    const doomed = await start('in the alarm');
    const exited = once(doomed.child, 'exit');
    await broker.publish('crash', { id, isPoisonous: true }, { messageId: id });
    await waitFor(() => doomed.news.includes('alarm'), { what: 'the alarm to ring' });
    doomed.child.kill('SIGKILL');
    await exited;

    const survivor = await start('nowhere');
    await waitFor(() => survivor.news.includes('alarm'), { what: 'the alarm to ring once more' });
    const closed = once(survivor.child, 'exit');
    survivor.child.send('close');
    await closed;
    expect(survivor.news).toEqual(['ready', 'alarm']);
    // Both copies of the one message that was given up twice; and the original is acknowledged.
    expect([await broker.count('crash.dead'), await broker.count('crash')]).toEqual([2, 0]);
    for (const _ of [1, 2]) expect((await broker.take('crash.dead')).properties.messageId).toBe(id);
  });
});
