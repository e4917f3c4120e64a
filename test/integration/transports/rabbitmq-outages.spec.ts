import { Logger } from '@nestjs/common';
import type { Transport } from '../../../lib/core/transport.port';
import { type RabbitMqServer, startRabbitMq } from '../../support/rabbitmq-server';
import { PATIENCE } from '../../support/patience';
import { type TcpProxy, startTcpProxy } from '../../support/tcp-proxy';
import { waitFor } from '../../support/wait-for';
import { Outcomes, claimedMessage, claimedMessages, stateOf } from '../../contracts/transport.fixtures';
import { Observer, idsOf, startedTransport } from './rabbitmq.fixtures';

describe('RabbitMQ: a broker in trouble', () => {
  let server: RabbitMqServer;
  let observer: Observer;
  let transport: Transport;
  let outcomes: Outcomes;
  let proxy: TcpProxy | undefined;

  const start = async (options: object = {}) => {
    transport = await startedTransport({
      exchange: 'shop',
      uri: server.url,
      declareExchange: true,
      sendTimeoutMs: 2_000,
      reconnectDelayMaxMs: 200,
      ...options,
    });
    await waitFor(() => transport.probe());
    outcomes = new Outcomes(transport);
  };

  beforeAll(async () => {
    Logger.overrideLogger(false);
    server = await startRabbitMq();
  }, 120_000);

  afterAll(async () => {
    await server.stop();
  });

  beforeEach(async () => {
    observer = await Observer.at(server.url);
  });

  afterEach(async () => {
    await transport.stop();
    await observer.close();
    proxy?.close();
    proxy = undefined;
  });

  it('settles a thousand messages in flight when the broker is killed, and sends them when it is back', async () => {
    await observer.queue('shop', '#', 'kept');
    // So that the broker cannot be through with all of them before it is killed.
    await observer.queue('shop', 'held', 'held');
    await onQueue(server, 'held', 'sys:suspend(P)');
    await server.syncTopology();
    await start();
    const content = { payload: Buffer.alloc(2_000, 'x') };
    const messages = [...claimedMessages(990, content), ...claimedMessages(10, { ...content, type: 'held' })];
    outcomes.send(messages);
    await server.kill();
    await outcomes.settled(messages);
    expect(outcomes.all).toHaveLength(messages.length);
    const lost = messages.filter((message) => outcomes.of(message).kind === 'unreachable');
    expect(lost.length).toBeGreaterThan(0);
    expect(outcomes.kinds(messages).filter((kind) => kind === 'refused')).toEqual([]);

    const up = stateOf(transport, 'up');
    await server.restart();
    await up;
    const again = new Outcomes(transport);
    await again.sendAndSettle(lost);
    expect(again.kinds(lost)).toEqual(['confirmed']);
    await observer.close();
    observer = await Observer.at(server.url);
    const arrived = await observer.collect('kept');
    await waitFor(() => new Set(idsOf(arrived)).size === messages.length);
    expect(outcomes.all).toHaveLength(messages.length);
  }, 60_000);

  it('counts an alarm as unreachable, leaves consumers alone, and sends when it is over', async () => {
    const queue = await observer.queue('shop', '#', 'alarm');
    await start();
    const backlog = claimedMessages(20);
    await outcomes.sendAndSettle(backlog);
    await server.raiseAlarm();

    // The broker tells a connection of its alarm when it publishes.
    const down = stateOf(transport, 'down');
    const first = claimedMessages(5);
    outcomes.send(first);
    expect(await down).toMatch(/block/);
    const second = claimedMessages(5);
    await outcomes.sendAndSettle(second, 500);
    expect(outcomes.kinds(second)).toEqual(['unreachable']);
    await outcomes.settled(first);
    expect(outcomes.kinds(first)).toEqual(['unreachable']);

    const consumed: string[] = [];
    await observer.channel.consume(queue, (message) => {
      consumed.push(message!.properties.messageId as string);
      observer.channel.ack(message!);
    });
    await waitFor(() => backlog.every(({ id }) => consumed.includes(id)));
    await waitFor(async () => {
      const state = (await server.listQueues()).find(({ name }) => name === 'alarm');
      return state?.messagesUnacknowledged === 0 && state.messagesReady === 0;
    });

    // A connection made under alarm is not blocked before it publishes, and still must not count as up.
    expect(await transport.probe()).toBe(false);
    const third = claimedMessages(5);
    await outcomes.sendAndSettle(third, 500);
    expect(outcomes.kinds(third)).toEqual(['unreachable']);

    const up = stateOf(transport, 'up');
    await server.clearAlarm();
    await up;
    const marker = claimedMessage();
    await outcomes.sendAndSettle([marker]);
    expect(outcomes.of(marker)).toEqual({ kind: 'confirmed' });
    await waitFor(() => consumed.includes(marker.id));
    for (const { id } of [...second, ...third]) expect(consumed).not.toContain(id);
  }, 60_000);

  it('refuses a message whose queue alone does not answer, and goes on with all others', async () => {
    await observer.queue('shop', 'stuck', 'stuck');
    await observer.queue('shop', 'fine', 'fine');
    const sendTimeoutMs = 1_000 * PATIENCE;
    await start({ sendTimeoutMs });
    await onQueue(server, 'stuck', 'sys:suspend(P)');
    const stuck = claimedMessage({ type: 'stuck' });
    outcomes.send([stuck]);
    const fine = claimedMessages(10, { type: 'fine' });
    await outcomes.sendAndSettle(fine);
    expect(outcomes.kinds(fine)).toEqual(['confirmed']);
    // They have not waited for it.
    expect(outcomes.all).toHaveLength(fine.length);
    await outcomes.settled([stuck]);
    expect(outcomes.of(stuck)).toMatchObject({
      kind: 'refused',
      retry: true,
      error: expect.stringMatching(/later messages/),
    });
    const more = claimedMessages(10, { type: 'fine' });
    await outcomes.sendAndSettle(more);
    expect(outcomes.kinds(more)).toEqual(['confirmed']);
    await onQueue(server, 'stuck', 'sys:resume(P)');
    const arrived = await observer.collect('stuck');
    await waitFor(() => idsOf(arrived).includes(stuck.id));
    expect(outcomes.all).toHaveLength(21);
  });

  it('keeps the connection of a broker that answers and confirms nothing', async () => {
    await observer.queue('shop', 'stuck', 'alone');
    await start({ sendTimeoutMs: 1_000 });
    await onQueue(server, 'alone', 'sys:suspend(P)');
    let downs = 0;
    transport.onStateChange((state) => {
      if (state === 'down') downs += 1;
    });
    const stuck = claimedMessage({ destination: 'shop/stuck' });
    await outcomes.sendAndSettle([stuck]);
    expect(outcomes.of(stuck)).toMatchObject({ kind: 'unreachable' });
    expect(downs).toBe(0);
    expect(await transport.probe()).toBe(true);
    await onQueue(server, 'alone', 'sys:resume(P)');
  });

  it('gives up a frozen broker at the time limit and notices that it is back', async () => {
    await observer.queue('shop', '#', 'frozen');
    proxy = await startTcpProxy({ target: server.url });
    await start({ uri: proxy.url(server.url), sendTimeoutMs: 1_000, connectTimeoutMs: 500 });
    proxy.stall('toClient');
    const messages = claimedMessages(10);
    await outcomes.sendAndSettle(messages);
    expect(outcomes.kinds(messages)).toEqual(['unreachable']);
    const up = stateOf(transport, 'up');
    proxy.resume();
    await up;
    const later = claimedMessages(10);
    await outcomes.sendAndSettle(later);
    expect(outcomes.kinds(later)).toEqual(['confirmed']);
    expect(outcomes.all).toHaveLength(20);
  });

  it('stops in time while the broker is frozen', async () => {
    proxy = await startTcpProxy({ target: server.url });
    await start({ uri: proxy.url(server.url) });
    proxy.stall();
    const messages = claimedMessages(10);
    outcomes.send(messages);
    const startedAt = performance.now();
    await transport.stop();
    expect(performance.now() - startedAt).toBeLessThan(2_000 * PATIENCE);
    expect(outcomes.kinds(messages)).toEqual(['unreachable']);
  });
});

/** Runs Erlang on a queue's process, bound to P. */
async function onQueue(server: RabbitMqServer, name: string, erlang: string): Promise<void> {
  await server.eval(
    `{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"${name}">>)), P = amqqueue:get_pid(Q), ${erlang}.`,
  );
}
