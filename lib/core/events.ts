import { EventEmitter } from 'node:events';

/** A message, as events name it. Never with its payload. */
export interface MessageRef {
  readonly id: string;
  readonly type: string;
  readonly transport: string;
  readonly destination: string;
  readonly key: string | null;
}

/** A message at a consumer, as events name it. */
export interface ConsumedRef {
  readonly consumer: string;
  readonly messageKey: string | null;
}

/** Everything that happens to messages, by name. All times are milliseconds. */
export interface OutboxEventMap {
  /** Published; its transaction is still open, and may yet be rolled back. */
  'message.staged': MessageRef;
  /** Its transaction is committed. */
  'message.committed': MessageRef & { readonly blocked: boolean };
  /** Confirmed, and written down as sent. `attempts` counts this one. */
  'message.sent': MessageRef & { readonly attempts: number; readonly via: 'fast-path' | 'resend' };
  /** Refused; it will be tried again. */
  'message.retry': MessageRef & {
    readonly attempts: number;
    readonly retryInMs: number;
    readonly error: string;
  };
  /** Given up on. Told by the process that wrote it down; the alarm rings where that one died before it could tell, too. */
  'message.deadLetter': MessageRef & { readonly attempts: number; readonly error: string };
  /** Its time (`expiresInMs`) was over before it could be sent, so it never will be. No alarm: its publisher wished it so. */
  'message.expired': MessageRef;
  'message.redriven': { readonly id: string };
  'message.discarded': { readonly id: string };
  /** Staged on a connection that was released without commit or rollback: it was not sent and never will be. */
  'message.lost': MessageRef & { readonly reason: string };
  /** A write inside a transactional method went past its transaction. */
  'write.escaped': { readonly transaction: string; readonly query: string };
  'transport.down': { readonly transport: string; readonly reason: string };
  'transport.up': { readonly transport: string };
  'relay.paused': { readonly transport: string | null };
  'relay.resumed': { readonly transport: string | null };
  /** Something in the background failed and will be tried again; nothing is lost. */
  'relay.error': { readonly task: string; readonly error: string };
  'inbox.handled': ConsumedRef & { readonly durationMs: number };
  'inbox.duplicate': ConsumedRef;
  'inbox.retry': ConsumedRef & {
    readonly attempts: number;
    readonly retryInMs: number;
    readonly error: string;
  };
  'inbox.deadLetter': ConsumedRef & { readonly attempts: number; readonly error: string };
}

export type OutboxEventName = keyof OutboxEventMap;

/**
 * The typed event stream: inject it, and subscribe. Listeners run synchronously where the event happens, so they must be
 * short; what a listener throws is swallowed and goes to `onListenerError`, because no listener may stop a message.
 */
export class OutboxEvents {
  private readonly emitter = new EventEmitter({ captureRejections: false });

  constructor(
    private readonly onListenerError: (event: OutboxEventName, error: unknown) => void = () => undefined,
  ) {
    this.emitter.setMaxListeners(0);
  }

  /** Calls back for each event of that name; what the listener returns is not waited for. @returns unsubscribes. */
  on<Name extends OutboxEventName>(
    name: Name,
    listener: (event: OutboxEventMap[Name]) => unknown,
  ): () => void {
    const guarded = (event: OutboxEventMap[Name]): void => {
      try {
        const result: unknown = listener(event);
        if (result instanceof Promise)
          result.catch((error: unknown) => {
            this.onListenerError(name, error);
          });
      } catch (error) {
        this.onListenerError(name, error);
      }
    };
    this.emitter.on(name, guarded);
    return () => {
      this.emitter.off(name, guarded);
    };
  }

  /** The next event of that name for which the condition holds. */
  next<Name extends OutboxEventName>(
    name: Name,
    condition: (event: OutboxEventMap[Name]) => boolean = () => true,
  ): Promise<OutboxEventMap[Name]> {
    return new Promise((resolve) => {
      const stop = this.on(name, (event) => {
        if (!condition(event)) return;
        stop();
        resolve(event);
      });
    });
  }

  /** Whether anybody listens: hot paths ask before they build an event. */
  has(name: OutboxEventName): boolean {
    return this.emitter.listenerCount(name) > 0;
  }

  emit<Name extends OutboxEventName>(name: Name, event: OutboxEventMap[Name]): void {
    this.emitter.emit(name, event);
  }
}
