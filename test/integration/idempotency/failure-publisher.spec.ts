import { AmqpConnection } from '@golevelup/nestjs-rabbitmq';
import type { ChannelModel } from 'amqplib';
import type { Socket } from 'node:net';
import { FailurePublisher } from '../../../lib/idempotency/rabbitmq/failure-publisher';
import { FailureQueues } from '../../../lib/idempotency/rabbitmq/failure-queues';
import { createVhost } from '../../support/shared-servers';
import { type TcpProxy, startTcpProxy } from '../../support/tcp-proxy';
import { waitFor } from '../../support/wait-for';
import { ManualClock } from '../../unit/support/manual-clock';
import { TestBroker } from './test-broker';

const ANSWER_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 5_000;

/** Something happens once, before or after they are declared. */
class WatchedQueues extends FailureQueues {
  before: (() => void) | null = null;
  after: (() => void) | null = null;
  /** On which they were declared last. */
  connection: ChannelModel | null = null;

  constructor() {
    super('watched', 'watched', [1_000], false);
  }

  override async declare(connection: ChannelModel): Promise<void> {
    this.connection = connection;
    this.before?.();
    this.before = null;
    await super.declare(connection);
    this.after?.();
    this.after = null;
  }
}

function socketOf(connection: ChannelModel): Socket {
  return (connection as unknown as { connection: { stream: Socket } }).connection.stream;
}

describe('a broker that stops answering the connection for retries', () => {
  let proxy: TcpProxy;
  let broker: TestBroker;
  let clock: ManualClock;
  let queues: WatchedQueues;
  let publisher: FailurePublisher;

  beforeEach(async () => {
    const { url } = await createVhost();
    broker = await TestBroker.connect(url);
    proxy = await startTcpProxy({ target: url });
    clock = new ManualClock();
    queues = new WatchedQueues();
    // Without heartbeats, so that the connection looks alive for as long as it says nothing.
    const source = new AmqpConnection({
      uri: proxy.url(url),
      connectionManagerOptions: { heartbeatIntervalInSeconds: 0, reconnectTimeInSeconds: 0.1 },
    });
    publisher = new FailurePublisher(source, clock);
  });

  afterEach(async () => {
    proxy.resume();
    await publisher.close();
    await broker.close();
    proxy.close();
  });

  const publish = (): Promise<void> => publisher.publish(queues, queues.dead, Buffer.from('{}'), {});

  it.each([
    ['no channel is opened', 'after'],
    ['the queues are not declared', 'before'],
  ] as const)('a failure within a bound where %s, and the next message is put away', async (_what, when) => {
    const stalled = new Promise<void>((resolve) => {
      queues[when] = () => {
        proxy.stall();
        resolve();
      };
    });
    const failed = expect(publish()).rejects.toThrow(`Waited ${ANSWER_TIMEOUT_MS} ms in vain`);
    await stalled;
    await waitFor(() => clock.armed > 0, { what: 'somebody to wait for an answer' });
    await clock.advance(ANSWER_TIMEOUT_MS);
    await failed;
    expect(socketOf(queues.connection!).destroyed).toBe(true);
    proxy.resume();
    await publish();
    await waitFor(async () => (await broker.count(queues.dead)) === 1, { what: 'the copy' });
  });

  it('closes within a bound, and leaves no connection behind that would keep the process', async () => {
    await publish();
    proxy.stall();
    const closed = publisher.close();
    await waitFor(() => clock.armed > 0, { what: 'somebody to wait for the end' });
    await clock.advance(CLOSE_TIMEOUT_MS);
    await closed;
    expect(socketOf(queues.connection!).destroyed).toBe(true);
    proxy.resume();
    await waitFor(() => proxy.connectionCount === 0, { what: 'the connection to be gone' });
  });
});
