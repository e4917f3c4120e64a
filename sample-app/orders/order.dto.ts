import { Type } from 'class-transformer';
import { ArrayMaxSize, ArrayNotEmpty, ArrayUnique, IsArray, ValidateNested } from 'class-validator';

import { IsIdentifier, IsQuantity, ITEMS_MAX } from '../validation';
import type { Order } from './order.entity';

export class OrderParams {
  @IsIdentifier()
  id!: string;
}

export class PlaceOrderItem {
  @IsIdentifier()
  sku!: string;

  @IsQuantity()
  quantity!: number;
}

export class PlaceOrder {
  @IsIdentifier()
  customerId!: string;

  @IsArray()
  @ArrayNotEmpty()
  @ArrayMaxSize(ITEMS_MAX)
  @ArrayUnique((item?: PlaceOrderItem) => item?.sku, { message: '$property must name each sku once' })
  @ValidateNested({ each: true })
  @Type(() => PlaceOrderItem)
  items!: PlaceOrderItem[];
}

export interface OrderView {
  id: string;
  customerId: string;
  status: 'placed' | 'paid';
  totalCents: number;
  items: { sku: string; quantity: number }[];
}

export function viewOf({ id, customerId, status, totalCents, items }: Order): OrderView {
  return { id, customerId, status, totalCents, items: items.map(({ sku, quantity }) => ({ sku, quantity })) };
}
