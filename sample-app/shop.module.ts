import { type DynamicModule, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';

import { CartsModule } from './carts/carts.module';
import { dataSourceOptions } from './database/database';
import { HealthController } from './health/health.controller';
import { MessagingModule } from './messaging/messaging.module';
import { OrdersModule } from './orders/orders.module';
import { PaymentsModule } from './payments/payments.module';
import { ProductsModule } from './products/products.module';

/**
 * Orders tell, carts and payments listen. They share a database and an exchange, and none calls another: each of them could
 * be a service of its own.
 */
@Module({ controllers: [HealthController] })
export class ShopModule {
  static register(databaseUrl: string, rabbitmqUrl: string | undefined): DynamicModule {
    return {
      module: ShopModule,
      imports: [
        // Whoever starts the shop without a database is to hear of it at once.
        TypeOrmModule.forRoot({
          ...dataSourceOptions(databaseUrl),
          autoLoadEntities: true,
          retryAttempts: 1,
        }),
        MessagingModule.register(rabbitmqUrl),
        ProductsModule,
        OrdersModule,
        CartsModule,
        PaymentsModule,
      ],
    };
  }
}
