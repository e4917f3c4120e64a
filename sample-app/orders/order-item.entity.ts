import { Column, Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';

import type { Order } from './order.entity';

@Entity('order_items')
export class OrderItem {
  @PrimaryColumn({ name: 'order_id', length: 36 })
  orderId!: string;

  @PrimaryColumn({ length: 64 })
  sku!: string;

  @Column('int')
  quantity!: number;

  @ManyToOne('Order', 'items')
  @JoinColumn({ name: 'order_id' })
  order?: Order;
}
