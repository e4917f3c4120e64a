import type { ChannelModel } from 'amqplib';

/** The socket that amqplib writes to, as far as it is used here. */
interface Corkable {
  readonly writableCorked: number;
  write(...given: unknown[]): boolean;
  cork(): void;
  uncork(): void;
}

/**
 * Lets what is written in one go leave in one go.
 *
 * amqplib writes each message to the socket by itself, which is a system call, a packet, and a wake-up of the broker for
 * each: that costs more than everything else about a message. The socket passes on what it gathered as soon as the code
 * that writes is through, or its buffer is full; so nothing waits for a timer.
 */
export function coalesceWrites(model: ChannelModel): void {
  const { stream } = (model as { connection?: { stream?: Partial<Corkable> } }).connection ?? {};
  // amqplib has no public word for its socket. Without one it works as before.
  if (!isCorkable(stream)) return;
  const write = stream.write.bind(stream);
  const uncork = (): void => stream.uncork();
  stream.write = (...given) => {
    if (stream.writableCorked === 0) {
      stream.cork();
      process.nextTick(uncork);
    }
    return write(...given);
  };
}

function isCorkable(stream: Partial<Corkable> | undefined): stream is Corkable {
  return (
    typeof stream?.cork === 'function' &&
    typeof stream.uncork === 'function' &&
    typeof stream.write === 'function' &&
    typeof stream.writableCorked === 'number'
  );
}
