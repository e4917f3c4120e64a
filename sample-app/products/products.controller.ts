import { Body, Controller, Get, Param, Put } from '@nestjs/common';

import { PutProduct, SkuParams } from './product.dto';
import type { Product } from './product.entity';
import { ProductsService } from './products.service';

@Controller('products')
export class ProductsController {
  constructor(private readonly products: ProductsService) {}

  @Put(':sku')
  put(@Param() { sku }: SkuParams, @Body() body: PutProduct): Promise<Product> {
    return this.products.put({ sku, ...body });
  }

  @Get(':sku')
  find(@Param() { sku }: SkuParams): Promise<Product> {
    return this.products.find(sku);
  }
}
