import { Type } from 'class-transformer';
import { IsInt, IsNotEmpty, IsString, IsUUID, Min, ValidateNested } from 'class-validator';

/**
 * What the modules of the shop tell each other: the only thing that they know of one another. Each class is the type that
 * the compiler checks, and the schema by which the outbox refuses a payload that does not fit, naming the property.
 */
export class OrderedItem {
  @IsString()
  @IsNotEmpty()
  sku!: string;

  @IsInt()
  @Min(1)
  quantity!: number;
}

export class OrderPlaced {
  @IsUUID()
  orderId!: string;

  @IsString()
  @IsNotEmpty()
  customerId!: string;

  @IsInt()
  @Min(0)
  totalCents!: number;

  @ValidateNested({ each: true })
  @Type(() => OrderedItem)
  items!: OrderedItem[];
}

export class OrderPaid {
  @IsUUID()
  orderId!: string;
}

declare module 'nestjs-outbox' {
  interface OutboxMessageTypes {
    'order.placed': OrderPlaced;
    'order.paid': OrderPaid;
  }
}
