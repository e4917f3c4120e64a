import { IsIdentifier, IsQuantity } from '../validation';

export class CustomerParams {
  @IsIdentifier()
  customerId!: string;
}

export class AddCartItem {
  @IsIdentifier()
  sku!: string;

  @IsQuantity()
  quantity!: number;
}

export interface Cart {
  customerId: string;
  items: { sku: string; quantity: number }[];
}
