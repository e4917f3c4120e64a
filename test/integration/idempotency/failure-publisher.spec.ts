import { AmqpConnection } from '@golevelup/nestjs-rabbitmq';
import type { ChannelModel } from 'amqplib';
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import { systemClock } from '../../../lib/core/clock';
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

  it('names the queue that does not confirm, and what to look at', async () => {
    await publish();
    proxy.stall();
    const failed = expect(publish()).rejects.toThrow(
      /the confirmation from watched\.dead\. .*rabbitmq-queues quorum_status/,
    );
    await waitFor(() => clock.armed > 0, { what: 'somebody to wait for a confirmation' });
    await clock.advance(ANSWER_TIMEOUT_MS);
    await failed;
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

  it('opens no connection any more once it is closed', async () => {
    await publisher.close();
    await expect(publish()).rejects.toThrow('The application shuts down.');
    expect(proxy.connectionCount).toBe(0);
  });
});

describe('a broker that takes a connection and never says a word', () => {
  let broker: TestBroker;
  let network: Server;
  let publisher: FailurePublisher;
  const silent: Socket[] = [];

  beforeEach(async () => {
    const { url } = await createVhost();
    broker = await TestBroker.connect(url);
    const { hostname, port } = new URL(url);
    network = createServer((client) => {
      client.on('error', () => undefined);
      if (silent.length === 0) {
        silent.push(client.resume());
        return;
      }
      const server = connect(Number(port), hostname);
      server.on('error', () => client.destroy());
      client.pipe(server).pipe(client);
    });
    await new Promise<void>((resolve) => network.listen(0, '127.0.0.1', resolve));
    const through = new URL(url);
    through.port = String((network.address() as AddressInfo).port);
    const source = new AmqpConnection({
      uri: through.href,
      connectionManagerOptions: { reconnectTimeInSeconds: 0.1 },
    });
    publisher = new FailurePublisher(source, systemClock);
  });

  afterEach(async () => {
    await publisher.close();
    await broker.close();
    silent.splice(0).forEach((socket) => socket.destroy());
    network.close();
  });

  it('is given up, and the next message is put away over another connection', async () => {
    const queues = new WatchedQueues();
    const publish = (): Promise<void> => publisher.publish(queues, queues.dead, Buffer.from('{}'), {});
    await expect(publish()).rejects.toThrow('in vain for a connection for retries');
    await publish();
    await waitFor(async () => (await broker.count(queues.dead)) === 1, { what: 'the copy' });
    expect(silent).toHaveLength(1);
  });
});
