import { type AddressInfo, type Server, connect, createServer } from 'node:net';
import { DataSource } from 'typeorm';
import { RelayDataSource } from '../../../lib/store/relay-data-source';
import { type TestDatabase, createTestDatabase } from '../../support/shared-servers';

/** The protocol's ReadyForQuery: the last of what a server greets with. */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

/** What a server says that shuts down. */
const FATAL = errorResponse({ S: 'FATAL', V: 'FATAL', C: '57P01', M: 'terminating connection' });

function errorResponse(fields: Readonly<Record<string, string>>): Buffer {
  const body = Object.entries(fields)
    .map(([field, text]) => `${field}${text}\0`)
    .join('');
  const header = Buffer.alloc(5);
  header.write('E');
  header.writeInt32BE(body.length + 5, 1);
  return Buffer.concat([header, Buffer.from(`${body}\0`)]);
}

/** A server that ends each connection in the same breath as it greets, as often as it is told to. */
class EndingServer {
  endings = 0;
  private constructor(private readonly server: Server) {}

  static async start(target: URL): Promise<EndingServer> {
    const server = createServer((client) => {
      const upstream = connect(Number(target.port), target.hostname);
      client.on('error', () => undefined);
      upstream.on('error', () => undefined);
      client.pipe(upstream);
      upstream.on('data', (chunk: Buffer) => {
        if (ending.endings === 0 || !chunk.subarray(-READY.length).equals(READY)) {
          client.write(chunk);
          return;
        }
        ending.endings -= 1;
        client.end(Buffer.concat([chunk, FATAL]));
        upstream.destroy();
      });
      upstream.on('close', () => client.end());
    });
    const ending = new EndingServer(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return ending;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  stop(): void {
    this.server.close();
  }
}

describe("The store's own connection", () => {
  let database: TestDatabase;
  let server: EndingServer;
  let relay: RelayDataSource;
  beforeAll(async () => {
    database = await createTestDatabase('postgres');
    server = await EndingServer.start(new URL(database.url));
    const url = new URL(database.url);
    url.host = `127.0.0.1:${server.port}`;
    relay = new RelayDataSource(new DataSource({ type: 'postgres', url: url.href }), 2);
  });
  afterAll(async () => {
    await relay.close();
    server.stop();
    await database.drop();
  });

  it('fails a statement, and nothing else, when the server ends it as it greets', async () => {
    await relay.query('SELECT 1');
    const held = await relay.connect();
    server.endings = 1;
    await expect(relay.query('SELECT 1')).rejects.toThrow();
    expect(server.endings).toBe(0);
    await expect(relay.query('SELECT 1 AS one')).resolves.toEqual([{ one: 1 }]);
    await held.release();
  });
});
