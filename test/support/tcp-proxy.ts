import { type Server, type Socket, connect, createServer } from 'node:net';
import { freePort } from './process/free-port';
import { ProxiedStream } from './proxied-stream';
import { trackResource } from './process/tracked-resources';

/** Which way the bytes go: to the server behind the proxy, or back to the client. */
export type Direction = 'toServer' | 'toClient';

export interface TcpProxyOptions {
  /** Where connections are passed on to: a server's address as a URL, or host and port. */
  target: string | { host: string; port: number };
  /** Delays what passes, each way. @default 0 */
  latencyMs?: number;
}

interface Connection {
  sockets: readonly Socket[];
  streams: readonly ProxiedStream[];
  /** On the clock of `performance.now()`. */
  usedAt: number;
}

/** A network that misbehaves on demand, between a client and a server. */
export class TcpProxy {
  latencyMs: number;
  port = 0;
  readonly host = '127.0.0.1';
  private readonly target: { host: string; port: number };
  private readonly stalled = new Set<Direction>();
  private readonly connections = new Set<Connection>();
  private listener: Server | undefined;
  private release: (() => void) | undefined;

  constructor(options: TcpProxyOptions) {
    const { target } = options;
    this.latencyMs = options.latencyMs ?? 0;
    this.target =
      typeof target === 'string'
        ? { host: new URL(target).hostname, port: Number(new URL(target).port) }
        : target;
  }

  /** The same address with this proxy's host and port. */
  url(serverUrl: string): string {
    const url = new URL(serverUrl);
    url.host = `${this.host}:${this.port}`;
    return url.href;
  }

  /** How many connections pass through at this moment. */
  get connectionCount(): number {
    return this.connections.size;
  }

  /** Holds back what passes, one way or both, with no connection closed; it is delivered after `resume()`. */
  stall(...directions: Direction[]): void {
    for (const direction of directions.length > 0 ? directions : (['toServer', 'toClient'] as const)) {
      this.stalled.add(direction);
    }
    this.pumpAll();
  }

  /** Ends `stall()`. */
  resume(): void {
    this.stalled.clear();
    this.pumpAll();
  }

  /**
   * Destroys every connection, as a reset by the peer; what was held back is lost.
   * @param idleMs only those on which nothing has passed for so long, as a pooler does. @default 0
   * @returns how many
   */
  cut({ idleMs = 0 } = {}): number {
    const before = performance.now() - idleMs;
    const affected = [...this.connections].filter(({ usedAt }) => usedAt <= before);
    for (const connection of affected) this.reset(connection);
    return affected.length;
  }

  /** From now on a new connection is refused, as if nothing listened; those that exist go on. */
  refuse(): void {
    this.listener?.close();
    this.listener = undefined;
  }

  /** Ends `refuse()`: listens again, on the same port. */
  async accept(): Promise<void> {
    if (this.listener) return;
    // Not one that the system chooses: while nobody listens there, it would give it to somebody else.
    if (this.port === 0) this.port = await freePort();
    const listener = createServer({ allowHalfOpen: true }, (client) => this.pass(client));
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject);
      listener.listen(this.port, this.host, resolve);
    });
    this.listener = listener;
    this.release ??= trackResource(`TCP proxy on port ${this.port}`);
  }

  /** Closes it for good. */
  close(): void {
    this.refuse();
    this.cut();
    this.release?.();
  }

  private pass(client: Socket): void {
    const server = connect({ ...this.target, allowHalfOpen: true });
    const up = new ProxiedStream(client, server, () => this.conditions('toServer'));
    const down = new ProxiedStream(server, client, () => this.conditions('toClient'));
    const connection: Connection = {
      sockets: [client, server],
      streams: [up, down],
      usedAt: performance.now(),
    };
    this.connections.add(connection);
    for (const socket of connection.sockets) {
      socket.setNoDelay(true);
      socket.on('data', () => (connection.usedAt = performance.now()));
      socket.on('error', () => this.reset(connection));
      // An orderly end travels through the streams' queues, so only the last socket to close ends it all.
      socket.on('close', () => {
        if (connection.sockets.every(({ destroyed }) => destroyed)) this.reset(connection);
      });
    }
  }

  private reset(connection: Connection): void {
    this.connections.delete(connection);
    for (const stream of connection.streams) stream.stop();
    for (const socket of connection.sockets) {
      if (socket.destroyed) continue;
      // Node cannot reset a socket that is just sending its end: it would leave the handle open for ever.
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
  }

  private conditions(direction: Direction) {
    return { stalled: this.stalled.has(direction), latencyMs: this.latencyMs };
  }

  private pumpAll(): void {
    for (const { streams } of this.connections) {
      for (const stream of streams) stream.pump();
    }
  }
}

/** Starts a proxy on a free port of 127.0.0.1; the caller closes it. */
export async function startTcpProxy(options: TcpProxyOptions): Promise<TcpProxy> {
  const proxy = new TcpProxy(options);
  await proxy.accept();
  return proxy;
}
