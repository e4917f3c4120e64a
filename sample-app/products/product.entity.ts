import { Column, Entity, PrimaryColumn } from 'typeorm';

@Entity('products')
export class Product {
  @PrimaryColumn({ length: 64 })
  sku!: string;

  @Column({ length: 200 })
  name!: string;

  @Column('int', { name: 'price_cents' })
  priceCents!: number;

  /** Never below zero. */
  @Column('int')
  stock!: number;
}
