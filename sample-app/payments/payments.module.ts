import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';

import { PaymentRequest } from './payment-request.entity';
import { PaymentsConsumer } from './payments.consumer';
import { PaymentsController } from './payments.controller';
import { PaymentsService } from './payments.service';

@Module({
  imports: [TypeOrmModule.forFeature([PaymentRequest])],
  controllers: [PaymentsController],
  providers: [PaymentsService, PaymentsConsumer],
})
export class PaymentsModule {}
