import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

import { cents } from '../database/cents';

/** A buyer is asked to pay. */
@Entity('payment_requests')
export class PaymentRequest {
  @PrimaryColumn({ length: 36 })
  id!: string;

  /**
   * Not unique, on purpose: a real shop would have both, the index and @Idempotent(); here nothing but @Idempotent() keeps
   * a second request out, so that the demo's checker can tell whether it does.
   */
  @Index()
  @Column({ name: 'order_id', length: 36 })
  orderId!: string;

  @Column({ name: 'customer_id', length: 64 })
  customerId!: string;

  @Column('bigint', { name: 'amount_cents', transformer: cents })
  amountCents!: number;

  @Column('varchar', { length: 16 })
  status!: 'requested' | 'paid';
}
