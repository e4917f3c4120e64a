import { ConflictException, Injectable, NotFoundException } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { MoreThanOrEqual, type Repository } from 'typeorm';

import { Product } from './product.entity';

@Injectable()
export class ProductsService {
  constructor(@InjectRepository(Product) private readonly products: Repository<Product>) {}

  async put(product: Product): Promise<Product> {
    await this.products.upsert(product, ['sku']);
    return this.find(product.sku);
  }

  async find(sku: string): Promise<Product> {
    const product = await this.products.findOneBy({ sku });
    if (!product) throw new NotFoundException(`There is no product ${sku}`);
    return product;
  }

  /** A product that is likely to be had. Most of those who come too late are told so here, before anything is written. */
  async offer(sku: string, quantity: number): Promise<Product> {
    const product = await this.find(sku);
    if (product.stock < quantity) throw new ConflictException(`The stock of ${sku} is short`);
    return product;
  }

  /**
   * Takes products out of stock. A thousand buyers may do so at once: the condition stands in the statement itself, so the
   * database lets through only as many as there are. Called in the order's transaction, which it joins by itself.
   */
  async take(sku: string, quantity: number): Promise<void> {
    const { affected } = await this.products.decrement(
      { sku, stock: MoreThanOrEqual(quantity) },
      'stock',
      quantity,
    );
    if (!affected) throw new ConflictException(`The stock of ${sku} is short`);
  }
}
