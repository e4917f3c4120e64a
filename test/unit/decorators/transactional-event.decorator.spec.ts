import { Injectable, Module, Scope, SetMetadata } from '@nestjs/common';
import { ContextIdFactory } from '@nestjs/core';
import { Test } from '@nestjs/testing';

import { OUTBOX_PART, outboxToken } from '../../../lib/core/tokens';
import type {
  TransactionalCall,
  TransactionalEventRuntime,
} from '../../../lib/core/transactional-event.port';
import { TransactionalEvent } from '../../../lib/decorators/transactional-event.decorator';
import { Outbox } from '../../../lib/outbox/outbox';

class RecordingRuntime implements TransactionalEventRuntime {
  readonly calls: TransactionalCall[] = [];
  run(call: TransactionalCall): Promise<unknown> {
    this.calls.push(call);
    return Promise.resolve(call.invoke());
  }
}

@Injectable()
class Orders {
  @SetMetadata('below', 1)
  @TransactionalEvent('order.placed', { key: (order: { id: string }) => order.id })
  @SetMetadata('above', 2)
  async place(id: string): Promise<{ id: string }> {
    return { id };
  }

  @TransactionalEvent('first', { propagation: 'nested' })
  @TransactionalEvent('second')
  async both(): Promise<this> {
    return this;
  }
}

@Injectable()
class SpecialOrders extends Orders {}

@Injectable({ scope: Scope.REQUEST })
class RequestOrders extends Orders {}

@Injectable({ scope: Scope.TRANSIENT })
class TransientOrders extends Orders {}

describe('@TransactionalEvent', () => {
  const runtime = new RecordingRuntime();
  const boot = () => {
    @Module({
      providers: [
        { provide: outboxToken(OUTBOX_PART.transactionalEvents), useValue: runtime },
        Orders,
        SpecialOrders,
        RequestOrders,
        TransientOrders,
      ],
    })
    class App {}
    return Test.createTestingModule({ imports: [App] }).compile();
  };
  beforeEach(() => runtime.calls.splice(0));

  it('runs through the runtime that Nest injected, and returns what the method returned', async () => {
    const module = await boot();
    expect(await module.get(Orders).place('7')).toEqual({ id: '7' });
    expect(runtime.calls).toMatchObject([
      { name: 'Orders.place', args: ['7'], events: [{ type: 'order.placed' }] },
    ]);
  });

  it('works in subclasses, request-scoped and transient providers', async () => {
    const module = await boot();
    await module.get(SpecialOrders).place('1');
    const contextId = ContextIdFactory.create();
    await (await module.resolve(RequestOrders, contextId)).place('2');
    await (await module.resolve(TransientOrders)).place('3');
    expect(runtime.calls).toHaveLength(3);
  });

  it('gathers several decorators into one call, from top to bottom', async () => {
    const module = await boot();
    const orders = module.get(Orders);
    expect(await orders.both()).toBe(orders);
    expect(runtime.calls).toHaveLength(1);
    expect(runtime.calls[0]?.events.map((event) => event.type)).toEqual(['first', 'second']);
    expect(runtime.calls[0]?.propagation).toBe('nested');
  });

  it("keeps other decorators' metadata, the name and the length", () => {
    const place = Object.getOwnPropertyDescriptor(Orders.prototype, 'place')?.value as object & {
      name: string;
      length: number;
    };
    expect(Reflect.getMetadata('below', place)).toBe(1);
    expect(Reflect.getMetadata('above', place)).toBe(2);
    expect([place.name, place.length]).toEqual(['place', 1]);
  });

  it('throws rather than running unprotected where nobody injected a runtime', async () => {
    await expect(new Orders().place('1')).rejects.toMatchObject({ code: 'OUTBOX_RUNTIME_MISSING' });
  });

  it('runs on a hand-made object that was bound', async () => {
    const outbox = new Outbox('default', undefined as never, undefined as never, null);
    const bound = outbox.bind(new Orders());
    const run = jest
      .spyOn(outbox.transactionalEvents, 'run')
      .mockImplementation((call) => Promise.resolve(call.invoke()));
    await bound.place('9');
    expect(run).toHaveBeenCalledTimes(1);
    expect(JSON.stringify(bound)).toBe('{}');
  });

  it('says at boot what is missing where the module was not imported', async () => {
    await expect(Test.createTestingModule({ providers: [Orders] }).compile()).rejects.toThrow(
      /import OutboxModule\.forRoot\(\)/,
    );
  });

  it('refuses decorators that contradict each other', () => {
    expect(() => {
      class Contradiction {
        @TransactionalEvent('a', { propagation: 'nested' })
        @TransactionalEvent('b', { propagation: 'mandatory' })
        async method(): Promise<void> {}
      }
      return Contradiction;
    }).toThrow(/@TransactionalEvent\.propagation/);
  });
});
