import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { Idempotent } from 'nestjs-outbox';

import type { OrderPlaced } from '../messages';
import { CartsService } from './carts.service';

@Injectable()
export class CartsConsumer {
  constructor(private readonly carts: CartsService) {}

  /** The message may come twice; @Idempotent() lets it take effect once, in one transaction with the cart. */
  @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'carts.order-placed' })
  @Idempotent()
  async onOrderPlaced({ customerId, items }: OrderPlaced): Promise<void> {
    await this.carts.removeOrdered(customerId, items);
  }
}
