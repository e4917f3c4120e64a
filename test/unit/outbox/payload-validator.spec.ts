import { Type } from 'class-transformer';
import { ArrayNotEmpty, IsInt, IsString, Min, ValidateNested } from 'class-validator';

import { InvalidMessageError } from '../../../lib/core/errors';
import { validatePayload } from '../../../lib/outbox/payload-validator';

class Item {
  @IsString() sku!: string;
  @IsInt() @Min(1) quantity!: number;
}

class OrderPlaced {
  @IsString() orderId!: string;
  @ArrayNotEmpty() @ValidateNested({ each: true }) @Type(() => Item) items!: Item[];
}

const good = { orderId: 'o', items: [{ sku: 's', quantity: 1 }] };

describe('validatePayload', () => {
  it('lets a fitting payload pass, plain or instance', async () => {
    await validatePayload('order.placed', good, OrderPlaced);
    await validatePayload('order.placed', Object.assign(new OrderPlaced(), good), OrderPlaced);
  });

  it.each<[string, unknown, string]>([
    ['a missing property', { items: good.items }, 'payload.orderId'],
    [
      'a nested one',
      {
        orderId: 'o',
        items: [
          { sku: 's', quantity: 1 },
          { sku: 's', quantity: 0 },
        ],
      },
      'payload.items.1.quantity',
    ],
    ['no object at all', 'text', 'payload'],
    ['null', null, 'payload'],
  ])('names the property of %s', async (_what, payload, property) => {
    const error = await validatePayload('order.placed', payload, OrderPlaced).then(
      () => undefined,
      (failure: unknown) => failure,
    );
    expect(error).toBeInstanceOf(InvalidMessageError);
    expect(error).toMatchObject({ messageType: 'order.placed', property });
  });
});
