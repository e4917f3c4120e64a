import { RabbitPayload } from '@golevelup/nestjs-rabbitmq';
import { Injectable, Scope, UseInterceptors } from '@nestjs/common';
import { DiscoveryModule, DiscoveryService, MetadataScanner } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { OUTBOX_PART, outboxToken } from '../../../lib/core/tokens';
import { Idempotent } from '../../../lib/decorators/idempotent.decorator';
import { directInstanceOf } from '../../../lib/idempotency/direct-instance';
import { findIdempotentMethods } from '../../../lib/idempotency/discovery';

class Further {
  intercept(): never {
    throw new Error('Only its place is looked at');
  }
}

@Injectable()
@UseInterceptors(Further)
class Handlers {
  @Idempotent()
  plain(): void {
    // Only how it is decorated is looked at.
  }

  @Idempotent()
  @UseInterceptors(Further)
  outside(): void {
    // As above.
  }

  @UseInterceptors(Further)
  @Idempotent()
  inside(): void {
    // As above.
  }

  @Idempotent()
  parameters(@RabbitPayload() payload: unknown): unknown {
    return payload;
  }
}

@Injectable()
class Heir extends Handlers {}

@Injectable({ scope: Scope.REQUEST })
class Scoped {
  @Idempotent()
  plain(): void {
    // As above.
  }
}

describe('which handlers may be called directly', () => {
  async function direct(...providers: object[]): Promise<Map<string, object | null>> {
    const module = await Test.createTestingModule({
      imports: [DiscoveryModule],
      providers: [{ provide: outboxToken(OUTBOX_PART.idempotency), useValue: {} }, ...(providers as never[])],
    }).compile();
    const methods = findIdempotentMethods(module.get(DiscoveryService), module.get(MetadataScanner));
    return new Map(methods.map((method) => [method.methodName, directInstanceOf(method)]));
  }

  it('those with neither parameters of their own nor an interceptor between', async () => {
    const found = await direct(Handlers);
    expect(found.get('plain')).toBeInstanceOf(Handlers);
    expect(found.get('outside')).toBe(found.get('plain'));
    expect([found.get('inside'), found.get('parameters')]).toEqual([null, null]);
  });

  it.each([
    ['an heir', Heir],
    ['another provider', { provide: 'again', useClass: Handlers }],
  ])('none that several instances have, as of %s', async (_, second) => {
    expect([...(await direct(Handlers, second)).values()]).toEqual([null, null, null, null]);
  });

  it('those of an instance that is provided under a second name', async () => {
    const found = await direct(Handlers, { provide: 'alias', useExisting: Handlers });
    expect(found.get('plain')).toBeInstanceOf(Handlers);
  });

  it('none that is made for each request', async () => {
    expect((await direct(Scoped)).get('plain')).toBeNull();
  });
});
