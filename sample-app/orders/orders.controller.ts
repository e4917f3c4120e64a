import { BadRequestException, Body, Controller, Get, Headers, HttpCode, Param, Post } from '@nestjs/common';
import { randomUUID } from 'node:crypto';

import { OrderParams, type OrderView, PlaceOrder, viewOf } from './order.dto';
import { OrdersService } from './orders.service';

@Controller('orders')
export class OrdersController {
  constructor(private readonly orders: OrdersService) {}

  /**
   * A client that got no answer cannot know whether its order was placed. When it sends the request again under the same
   * `Idempotency-Key`, it gets the order that there is, and no second one.
   */
  @Post()
  async place(
    @Body() command: PlaceOrder,
    @Headers('idempotency-key') idempotencyKey: string = randomUUID(),
  ): Promise<Pick<OrderView, 'id' | 'status' | 'totalCents'>> {
    if (!/^[\x21-\x7e]{1,64}$/.test(idempotencyKey)) {
      throw new BadRequestException('Idempotency-Key must be 1 to 64 visible characters');
    }
    const { id, status, totalCents } = await this.orders.place(command, idempotencyKey);
    return { id, status, totalCents };
  }

  @Get(':id')
  async find(@Param() { id }: OrderParams): Promise<OrderView> {
    return viewOf(await this.orders.find(id));
  }

  @Post(':id/pay')
  @HttpCode(200)
  async pay(@Param() { id }: OrderParams): Promise<Pick<OrderView, 'id' | 'status'>> {
    const { status } = await this.orders.pay(id);
    return { id, status };
  }
}
