import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';

import { CartItem } from './cart-item.entity';
import { CartsConsumer } from './carts.consumer';
import { CartsController } from './carts.controller';
import { CartsService } from './carts.service';

@Module({
  imports: [TypeOrmModule.forFeature([CartItem])],
  controllers: [CartsController],
  providers: [CartsService, CartsConsumer],
})
export class CartsModule {}
