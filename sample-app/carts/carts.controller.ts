import { Body, Controller, Get, Param, Post } from '@nestjs/common';

import { AddCartItem, type Cart, CustomerParams } from './cart.dto';
import { CartsService } from './carts.service';

@Controller('carts')
export class CartsController {
  constructor(private readonly carts: CartsService) {}

  @Get(':customerId')
  find(@Param() { customerId }: CustomerParams): Promise<Cart> {
    return this.carts.find(customerId);
  }

  @Post(':customerId/items')
  add(@Param() { customerId }: CustomerParams, @Body() item: AddCartItem): Promise<Cart> {
    return this.carts.add(customerId, item);
  }
}
