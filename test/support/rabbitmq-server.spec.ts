import { type ConfirmChannel, connect } from 'amqplib';
import { type RabbitMqServer, startRabbitMq } from './rabbitmq-server';
import { signal } from './signal';

describe('a private RabbitMQ', () => {
  let server: RabbitMqServer;

  beforeAll(async () => {
    server = await startRabbitMq();
  }, 90_000);
  afterAll(() => server.stop());

  async function withChannel<T>(url: string, use: (channel: ConfirmChannel) => Promise<T>): Promise<T> {
    const connection = await connect(url);
    connection.on('error', () => {});
    const result = await use(await connection.createConfirmChannel());
    await connection.close();
    return result;
  }

  async function publish(url: string): Promise<void> {
    await withChannel(url, async (channel) => {
      await channel.assertQueue('kept', { durable: true });
      channel.sendToQueue('kept', Buffer.from('kept'), { persistent: true });
      await channel.waitForConfirms();
    });
  }

  it('creates virtual hosts', async () => {
    await publish(await server.createVhost('one'));
    expect(await server.listQueues('one')).toMatchObject([{ name: 'kept', messages: 1 }]);
    expect(await server.listQueues()).toEqual([]);
  });

  it('freezes without closing connections', async () => {
    await withChannel(server.url, async (channel) => {
      server.pause();
      const thawed = signal('an answer');
      const answer = channel.assertQueue('', { exclusive: true }).then(() => thawed.fire());
      await expect(thawed.wait(300)).rejects.toThrow('in vain for an answer');
      server.resume();
      await answer;
    });
  });

  it('blocks publishing connections while its memory alarm is raised', async () => {
    const connection = await connect(server.url);
    const blocked = signal('connection.blocked');
    const unblocked = signal('connection.unblocked');
    connection.on('blocked', () => blocked.fire());
    connection.on('unblocked', () => unblocked.fire());
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue('alarm');
    await server.raiseAlarm();
    channel.sendToQueue('alarm', Buffer.from(''));
    await blocked.wait();
    await server.clearAlarm();
    await unblocked.wait();
    await connection.close();
  });

  it('keeps what was confirmed when it is killed and started again on the same port', async () => {
    await publish(server.url);
    await server.syncTopology();
    await server.kill();
    await expect(connect(server.url)).rejects.toThrow('ECONNREFUSED');
    await server.restart();
    const kept = await withChannel(server.url, (channel) => channel.get('kept'));
    expect(kept).toMatchObject({ content: Buffer.from('kept') });
  }, 60_000);

  it('keeps a quorum queue that was declared just before', async () => {
    const options = { durable: true, arguments: { 'x-queue-type': 'quorum' } };
    await withChannel(server.url, (channel) => channel.assertQueue('elected', options));
    await server.syncTopology();
    await server.kill();
    await server.restart();
    const confirmed = signal('a confirmation');
    await withChannel(server.url, async (channel) => {
      channel.sendToQueue('elected', Buffer.from(''), {}, () => confirmed.fire());
      await confirmed.wait();
    });
  }, 60_000);
});
