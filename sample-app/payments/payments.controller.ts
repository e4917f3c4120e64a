import { Controller, Get, Query } from '@nestjs/common';

import { IsIdentifier } from '../validation';
import type { PaymentRequest } from './payment-request.entity';
import { PaymentsService } from './payments.service';

class PaymentsQuery {
  @IsIdentifier()
  orderId!: string;
}

@Controller('payments')
export class PaymentsController {
  constructor(private readonly payments: PaymentsService) {}

  @Get()
  findByOrder(@Query() { orderId }: PaymentsQuery): Promise<PaymentRequest[]> {
    return this.payments.findByOrder(orderId);
  }
}
