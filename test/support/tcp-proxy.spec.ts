import { once } from 'node:events';
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import { signal } from './signal';
import { type TcpProxy, startTcpProxy } from './tcp-proxy';
import { waitFor } from './wait-for';

describe('the TCP proxy', () => {
  let echo: Server;
  let proxy: TcpProxy;
  let client: Socket;

  beforeEach(async () => {
    echo = createServer((socket) => void socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1');
    await once(echo, 'listening');
    proxy = await startTcpProxy({ target: `tcp://127.0.0.1:${(echo.address() as AddressInfo).port}` });
    client = await dial();
  });
  afterEach(() => {
    client.destroy();
    proxy.close();
    echo.close();
  });

  async function dial(): Promise<Socket> {
    const socket = connect(proxy.port, proxy.host);
    await once(socket, 'connect');
    return socket;
  }

  async function sayHello(): Promise<string> {
    client.write('hello');
    const [chunk] = (await once(client, 'data')) as [Buffer];
    return chunk.toString();
  }

  it('passes bytes both ways, and the end of a stream', async () => {
    expect(await sayHello()).toBe('hello');
    expect(proxy.connectionCount).toBe(1);
    client.end();
    await once(client, 'close');
    await waitFor(() => proxy.connectionCount === 0);
  });

  it('delays each way', async () => {
    proxy.latencyMs = 60;
    const begin = performance.now();
    expect(await sayHello()).toBe('hello');
    expect(performance.now() - begin).toBeGreaterThanOrEqual(118);
  });

  it.each([['toServer'], ['toClient']] as const)('stalls %s, and resumes', async (direction) => {
    proxy.stall(direction);
    const answered = signal('the answer');
    const answer = sayHello().then((text) => {
      answered.fire();
      return text;
    });
    await expect(answered.wait(100)).rejects.toThrow('in vain for the answer');
    proxy.resume();
    expect(await answer).toBe('hello');
  });

  it('cuts what is connected', async () => {
    await sayHello();
    const failed = once(client, 'error');
    proxy.cut();
    const [error] = (await failed) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNRESET');
    expect(proxy.connectionCount).toBe(0);
  });

  it('refuses new connections, and accepts them again', async () => {
    proxy.refuse();
    await expect(dial()).rejects.toThrow('ECONNREFUSED');
    expect(await sayHello()).toBe('hello');
    await proxy.accept();
    (await dial()).destroy();
  });
});
