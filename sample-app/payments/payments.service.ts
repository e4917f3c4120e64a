import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { randomUUID } from 'node:crypto';
import type { Repository } from 'typeorm';

import type { OrderPaid, OrderPlaced } from '../messages';
import { PaymentRequest } from './payment-request.entity';

@Injectable()
export class PaymentsService {
  constructor(@InjectRepository(PaymentRequest) private readonly requests: Repository<PaymentRequest>) {}

  findByOrder(orderId: string): Promise<PaymentRequest[]> {
    return this.requests.findBy({ orderId });
  }

  async request({ orderId, customerId, totalCents }: OrderPlaced): Promise<void> {
    const request = {
      id: randomUUID(),
      orderId,
      customerId,
      amountCents: totalCents,
      status: 'requested' as const,
    };
    await this.requests.insert(request);
  }

  async settle({ orderId }: OrderPaid): Promise<void> {
    const { affected } = await this.requests.update({ orderId }, { status: 'paid' });
    if (!affected) throw new Error(`There is no payment request of order ${orderId} yet`);
  }
}
