import { Writable } from 'node:stream';
import type { ChannelModel } from 'amqplib';
import { coalesceWrites } from '../../../lib/transports/rabbitmq/coalesced-writes';

/** A socket that notes what it was given in one go. */
class NotingSocket extends Writable {
  readonly gone: string[] = [];

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.gone.push(chunk.toString());
    done();
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.gone.push(chunks.map(({ chunk }) => chunk.toString()).join(''));
    done();
  }
}

const modelOf = (connection: unknown): ChannelModel => ({ connection }) as unknown as ChannelModel;
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("What is written to the broker's socket", () => {
  it('in one go leaves in one go, and waits for nothing', async () => {
    const stream = new NotingSocket();
    coalesceWrites(modelOf({ stream }));
    for (const frame of ['a', 'b', 'c']) stream.write(frame);
    expect(stream.gone).toEqual([]);
    await nextTurn();
    expect(stream.gone).toEqual(['abc']);
    stream.write('d');
    await nextTurn();
    expect(stream.gone).toEqual(['abc', 'd']);
  });

  it('goes on when its buffer was full', async () => {
    const stream = new NotingSocket({ highWaterMark: 2 });
    coalesceWrites(modelOf({ stream }));
    expect(stream.write('a')).toBe(true);
    expect(stream.write('b')).toBe(false);
    await new Promise((resolve) => stream.once('drain', resolve));
    expect(stream.gone).toEqual(['ab']);
  });

  it('leaves before its end, and not after its destruction', async () => {
    const [ended, destroyed] = [new NotingSocket(), new NotingSocket()];
    for (const stream of [ended, destroyed]) {
      coalesceWrites(modelOf({ stream }));
      stream.write('a');
    }
    ended.end('b');
    destroyed.destroy();
    await nextTurn();
    expect(ended.gone.join('')).toBe('ab');
    expect(destroyed.gone).toEqual([]);
  });

  it.each([{}, { stream: {} }, { stream: { write: () => true } }, undefined])(
    'goes as before where there is no such socket: %j',
    (connection) => {
      expect(() => coalesceWrites(modelOf(connection))).not.toThrow();
    },
  );
});
