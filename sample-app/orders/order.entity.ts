import { Column, Entity, OneToMany, PrimaryColumn, Unique } from 'typeorm';

import { cents } from '../database/cents';
import { OrderItem } from './order-item.entity';

@Entity('orders')
@Unique(['customerId', 'idempotencyKey'])
export class Order {
  @PrimaryColumn({ length: 36 })
  id!: string;

  @Column({ name: 'customer_id', length: 64 })
  customerId!: string;

  /** The client's own name for its request; a request that comes again meets the order that it has made. */
  @Column({ name: 'idempotency_key', length: 64 })
  idempotencyKey!: string;

  @Column('varchar', { length: 16 })
  status!: 'placed' | 'paid';

  @Column('bigint', { name: 'total_cents', transformer: cents })
  totalCents!: number;

  @OneToMany(() => OrderItem, (item) => item.order, { eager: true })
  items!: OrderItem[];
}
