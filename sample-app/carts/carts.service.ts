import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LessThanOrEqual, type Repository } from 'typeorm';

import { isUniqueViolation } from '../database/unique-violation';
import type { OrderedItem } from '../messages';
import type { AddCartItem, Cart } from './cart.dto';
import { CartItem } from './cart-item.entity';

@Injectable()
export class CartsService {
  constructor(@InjectRepository(CartItem) private readonly cartItems: Repository<CartItem>) {}

  async find(customerId: string): Promise<Cart> {
    const items = await this.cartItems.find({ where: { customerId }, order: { sku: 'ASC' } });
    return { customerId, items: items.map(({ sku, quantity }) => ({ sku, quantity })) };
  }

  async add(customerId: string, { sku, quantity }: AddCartItem): Promise<Cart> {
    if (!(await this.increase(customerId, sku, quantity))) {
      try {
        await this.cartItems.insert({ customerId, sku, quantity });
      } catch (error) {
        // The same customer put it in at the same moment.
        if (!isUniqueViolation(error)) throw error;
        await this.increase(customerId, sku, quantity);
      }
    }
    return this.find(customerId);
  }

  /** Takes so many out of the cart as were ordered. Doing it twice would take out too many: see CartsConsumer. */
  async removeOrdered(customerId: string, ordered: readonly OrderedItem[]): Promise<void> {
    for (const { sku, quantity } of ordered) {
      await this.cartItems.decrement({ customerId, sku }, 'quantity', quantity);
    }
    await this.cartItems.delete({ customerId, quantity: LessThanOrEqual(0) });
  }

  private async increase(customerId: string, sku: string, quantity: number): Promise<boolean> {
    const { affected } = await this.cartItems.increment({ customerId, sku }, 'quantity', quantity);
    return Boolean(affected);
  }
}
