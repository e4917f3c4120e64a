import { PATIENCE } from './patience';

/** A promise that is settled from outside. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: Error): void;
}

export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

/** Something that happens once, and that others wait for. */
export interface Signal {
  readonly fired: boolean;
  fire(): void;
  /** Resolves when it has fired; rejects, naming the signal, when it has not within the time. */
  wait(timeoutMs?: number): Promise<void>;
}

export function signal(name = 'the signal'): Signal {
  const { promise, resolve } = deferred<void>();
  let fired = false;
  return {
    get fired() {
      return fired;
    },
    fire() {
      fired = true;
      resolve();
    },
    async wait(givenMs = 10_000) {
      const timeoutMs = givenMs * PATIENCE;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(new Error(`Waited ${timeoutMs} ms in vain for ${name} to fire`)),
          timeoutMs,
        );
      });
      await Promise.race([promise, late]).finally(() => clearTimeout(timer));
    },
  };
}
