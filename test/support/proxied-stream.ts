import { type Socket } from 'node:net';

export interface Conditions {
  stalled: boolean;
  latencyMs: number;
}

interface Item {
  /** Nothing stands for the end of the stream. */
  chunk: Buffer | undefined;
  dueAt: number;
}

/**
 * One direction of one proxied connection: a queue of chunks that leave in order, each when it is due. While it is stalled it
 * reads no more, so that the sender's buffers fill as they do on a network that takes nothing.
 */
export class ProxiedStream {
  private readonly queue: Item[] = [];
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly source: Socket,
    private readonly sink: Socket,
    private readonly conditions: () => Conditions,
  ) {
    source.on('data', (chunk: Buffer) => this.enqueue(chunk));
    source.on('end', () => this.enqueue(undefined));
  }

  /** Passes on what is due. */
  pump(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.conditions().stalled) {
      this.source.pause();
      return;
    }
    this.source.resume();
    for (let next = this.queue[0]; next; next = this.queue[0]) {
      const waitMs = next.dueAt - performance.now();
      if (waitMs > 0) {
        this.timer = setTimeout(() => this.pump(), Math.ceil(waitMs));
        return;
      }
      this.queue.shift();
      if (!this.sink.writable) continue;
      if (next.chunk) this.sink.write(next.chunk);
      else this.sink.end();
    }
  }

  /** Drops what waits. */
  stop(): void {
    clearTimeout(this.timer);
    this.queue.length = 0;
  }

  private enqueue(chunk: Buffer | undefined): void {
    this.queue.push({ chunk, dueAt: performance.now() + this.conditions().latencyMs });
    this.pump();
  }
}
