import { Column, Entity, PrimaryColumn } from 'typeorm';

@Entity('cart_items')
export class CartItem {
  @PrimaryColumn({ name: 'customer_id', length: 64 })
  customerId!: string;

  @PrimaryColumn({ length: 64 })
  sku!: string;

  @Column('int')
  quantity!: number;
}
