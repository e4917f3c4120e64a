import { RABBIT_HANDLER, RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import {
  type CallHandler,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
  Scope,
  UseInterceptors,
} from '@nestjs/common';
import { ContextIdFactory, ExternalContextCreator, ModuleRef } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { type Observable, of } from 'rxjs';
import { OutboxConfigurationError } from '../../../lib/core/errors';
import { IDEMPOTENT_METADATA, type IdempotentHandling } from '../../../lib/core/idempotency.port';
import { OUTBOX_PART, outboxToken } from '../../../lib/core/tokens';
import { Idempotent } from '../../../lib/decorators/idempotent.decorator';
import { TransactionalEvent } from '../../../lib/decorators/transactional-event.decorator';

const subscribe = (queue: string) => RabbitSubscribe({ exchange: 'shop', routingKey: queue, queue });

class Runtime implements IdempotentHandling {
  readonly log: string[] = [];

  constructor(private readonly instance: object | null = null) {}

  instanceOf(): object | null {
    return this.instance;
  }

  async handle(...[marker, args, proceed]: Parameters<IdempotentHandling['handle']>): Promise<void> {
    this.log.push(`${marker.method} of ${marker.dataSource} with ${JSON.stringify(args[0])}`);
    this.log.push(`answered ${String(await proceed())}`);
    // Transient errors of the database run the handler again.
    this.log.push(`answered ${String(await proceed())}`);
  }
}

@Injectable()
class Handlers {
  calls = 0;

  @subscribe('above')
  @Idempotent()
  above(payload: string): Promise<string> {
    this.calls += 1;
    return Promise.resolve(`${payload} ${this.calls}`);
  }

  @Idempotent({ dataSource: 'other' })
  @subscribe('below')
  async below(payload: string): Promise<string> {
    return this.above(payload);
  }
}

@Injectable({ scope: Scope.REQUEST })
class ScopedHandlers extends Handlers {}

const deliver = async (
  module: { get: ModuleRef['get'] },
  host: object,
  method: 'above' | 'below',
  contextId?: object,
) => {
  const contexts = module.get(ExternalContextCreator, { strict: false });
  const handler = (host as Handlers)[method] as (...args: unknown[]) => unknown;
  return contexts.create(
    host,
    handler,
    method,
    undefined,
    undefined,
    contextId as never,
    undefined,
    undefined,
    'rmq' as never,
  )('payload', {}, {});
};

describe('@Idempotent', () => {
  const runtime = new Runtime();
  const other = new Runtime();
  const start = (providers: never[]) =>
    Test.createTestingModule({
      providers: [
        { provide: outboxToken(OUTBOX_PART.idempotency), useValue: runtime },
        { provide: outboxToken(OUTBOX_PART.idempotency, 'other'), useValue: other },
        ...providers,
      ],
    }).compile();

  beforeEach(() => {
    runtime.log.length = 0;
    other.log.length = 0;
  });

  it('hands the call to the runtime of its data source, above or below @RabbitSubscribe, and drops the answer', async () => {
    const module = await start([Handlers] as never[]);
    expect(await deliver(module, module.get(Handlers), 'above')).toBeUndefined();
    expect(runtime.log).toEqual([
      'Handlers.above of default with "payload"',
      'answered payload 1',
      'answered payload 2',
    ]);
    await deliver(module, module.get(Handlers), 'below');
    expect(other.log[0]).toBe('Handlers.below of other with "payload"');
    for (const method of ['above', 'below'] as const) {
      expect(Reflect.getMetadata(RABBIT_HANDLER, Handlers.prototype[method])).toMatchObject({
        queue: method,
      });
    }
  });

  it('works on request-scoped classes, where something delivers to those', async () => {
    const module = await start([ScopedHandlers] as never[]);
    const contextId = ContextIdFactory.create();
    const host = await module.resolve(ScopedHandlers, contextId);
    await deliver(module, host, 'above', contextId);
    expect(runtime.log[1]).toBe('answered payload 1');
    expect(host.calls).toBe(2);
  });

  describe('where the method may be called directly', () => {
    const order: string[] = [];
    const passing = (name: string) => {
      class Passing implements NestInterceptor {
        intercept(_context: ExecutionContext, next: CallHandler) {
          order.push(name);
          return next.handle();
        }
      }
      return Passing;
    };

    @Injectable()
    @UseInterceptors(passing('class'))
    class Direct {
      @Idempotent()
      @UseInterceptors(passing('method'))
      above(payload: string): Promise<string> {
        order.push(`handler ${payload}`);
        return Promise.resolve(payload);
      }

      @Idempotent()
      below(payload: string): Observable<string> {
        return of(`${payload} 1`, `${payload} 2`);
      }
    }

    it('calls it inside of all other interceptors, and waits for what it observes', async () => {
      const host = new Direct();
      const direct = new Runtime(host);
      const module = await Test.createTestingModule({
        providers: [
          { provide: outboxToken(OUTBOX_PART.idempotency), useValue: direct },
          { provide: Direct, useValue: host },
          { provide: 'the same by its class', useClass: Direct },
        ],
      }).compile();
      await deliver(module, module.get('the same by its class'), 'above');
      expect(order).toEqual(['class', 'method', 'handler payload', 'handler payload']);
      await deliver(module, module.get('the same by its class'), 'below');
      expect(direct.log.at(-1)).toBe('answered payload 2');
    });
  });

  it('names the remedy when its data source has no outbox', async () => {
    await expect(Test.createTestingModule({ providers: [Handlers] }).compile()).rejects.toThrow(
      /import OutboxModule\.forRoot\(\) of nestjs-outbox/,
    );
  });

  it('keeps to the method when @TransactionalEvent wraps it', () => {
    class Both {
      @TransactionalEvent('done')
      @Idempotent()
      async first(): Promise<void> {}

      @Idempotent()
      @TransactionalEvent('done')
      async second(): Promise<void> {}
    }
    for (const method of ['first', 'second'] as const) {
      expect(Reflect.getMetadata(IDEMPOTENT_METADATA, Both.prototype[method])).toMatchObject({
        method: `Both.${method}`,
      });
      expect(Reflect.getMetadata('__interceptors__', Both.prototype[method])).toHaveLength(1);
    }
  });

  it('is refused twice on one method, and on static ones', () => {
    const twice = () => {
      class Twice {
        @Idempotent()
        @Idempotent()
        async onMessage(): Promise<void> {}
      }
      return Twice;
    };
    expect(twice).toThrow(OutboxConfigurationError);
    expect(twice).toThrow(/twice on Twice\.onMessage/);
    const asStatic = () => {
      class Static {
        @Idempotent()
        static async onMessage(): Promise<void> {}
      }
      return Static;
    };
    expect(asStatic).toThrow(/instances only/);
  });
});
