import type { ConsumedMessage } from '../core/idempotency.port';

/** One message among a handler's arguments. */
export interface Delivery {
  /** Its place in the batch; 0 for a handler of single messages. */
  readonly index: number;
  readonly payload: unknown;
  readonly message: ConsumedMessage | undefined;
}

/** A handler's arguments: payload, message, headers; or, for a batch, an array of each. */
export class HandlerArguments {
  readonly deliveries: readonly Delivery[];
  private readonly isBatch: boolean;

  constructor(private readonly args: readonly unknown[]) {
    const [payload, message] = args;
    this.isBatch = Array.isArray(message);
    this.deliveries = Array.isArray(message)
      ? (message as ConsumedMessage[]).map((each, index) => ({
          index,
          payload: (payload as unknown[])[index],
          message: each,
        }))
      : [{ index: 0, payload, message: message as ConsumedMessage | undefined }];
  }

  /**
   * Runs work while a batch consists of these deliveries alone. Nest has already bound the handler to these very arrays,
   * and their owner acknowledges by them, so they are narrowed in place, and are whole again when the work is done.
   */
  async only<T>(deliveries: readonly Delivery[], work: () => Promise<T>): Promise<T> {
    if (!this.isBatch) return work();
    const arrays = this.args.filter((arg): arg is unknown[] => Array.isArray(arg));
    const whole = arrays.map((array) => [...array]);
    arrays.forEach((array) => {
      const kept = deliveries.map(({ index }) => array[index]);
      replace(array, kept);
    });
    try {
      return await work();
    } finally {
      arrays.forEach((array, position) => {
        replace(array, whole[position] as unknown[]);
      });
    }
  }
}

function replace(array: unknown[], items: readonly unknown[]): void {
  array.length = 0;
  for (const item of items) array.push(item);
}
