import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { Idempotent } from 'nestjs-outbox';

import type { OrderPaid, OrderPlaced } from '../messages';
import { PaymentsService } from './payments.service';

@Injectable()
export class PaymentsConsumer {
  constructor(private readonly payments: PaymentsService) {}

  /** Every buyer is asked to pay, once. */
  @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'payments.order-placed' })
  @Idempotent()
  async onOrderPlaced(event: OrderPlaced): Promise<void> {
    await this.payments.request(event);
  }

  /**
   * It leaves the outbox after the order's `order.placed`, and comes by another queue: should it overtake, settle() throws,
   * the message goes into the delayed retry, and finds the request then.
   */
  @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.paid', queue: 'payments.order-paid' })
  @Idempotent()
  async onOrderPaid(event: OrderPaid): Promise<void> {
    await this.payments.settle(event);
  }
}
