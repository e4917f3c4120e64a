import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { TransactionalEvent } from 'nestjs-outbox';
import { Column, Entity, PrimaryGeneratedColumn, type Repository } from 'typeorm';

import { MESSAGE_TYPE, ORDER_TABLE, payloadOf } from '../harness/names';
import { keyOf } from './config';

/** The business transaction's row, as an application has it. */
@Entity(ORDER_TABLE)
export class Order {
  @PrimaryGeneratedColumn({ type: 'bigint' })
  readonly id!: string;

  @Column('text')
  readonly customer!: string;

  @Column('integer')
  readonly amount!: number;
}

/** What is saved as the n-th order. */
export function orderOf(n: number): Order {
  return { customer: `customer ${n}`, amount: n } as Order;
}

/** What one order is placed with, and the message about it. */
export interface Placing {
  readonly n: number;
  /** Of the message's payload. */
  readonly bytes: number;
  /** null: none; `unique`: one of its own. */
  readonly key: string | null;
}

/** A service as the README has it: a repository that joins the transaction, and a decorator. */
@Injectable()
export class OrderService {
  constructor(@InjectRepository(Order) private readonly orders: Repository<Order>) {}

  @TransactionalEvent(MESSAGE_TYPE, {
    payload: (_order: Order, [{ n, bytes }]: [Placing]) => payloadOf(n, bytes),
    key: (_order: Order, [{ n, key }]: [Placing]) => keyOf(n, key),
  })
  place({ n }: Placing): Promise<Order> {
    return this.orders.save(orderOf(n));
  }
}
