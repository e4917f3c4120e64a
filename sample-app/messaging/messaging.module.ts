import { type DynamicModule, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { OutboxModule } from 'nestjs-outbox';
import { inProcess } from 'nestjs-outbox/in-process';
import { rabbitMq } from 'nestjs-outbox/rabbitmq';

import { DroppedDuplicate } from './dropped-duplicate.entity';
import { DuplicateLog } from './duplicate-log';
import { OutboxController } from './outbox.controller';
import { PatientRabbitMQModule } from './patient-rabbitmq.module';

const outbox = {
  source: 'shop',
  // What a killed shop was just sending waits so long for the next one: short, because here people watch.
  relay: { leaseMs: 5_000 },
};

/** How the modules of the shop reach one another: over RabbitMQ, or, without one, inside this process. */
@Module({
  imports: [TypeOrmModule.forFeature([DroppedDuplicate])],
  controllers: [OutboxController],
  providers: [DuplicateLog],
})
export class MessagingModule {
  static register(rabbitmqUrl: string | undefined): DynamicModule {
    if (!rabbitmqUrl) {
      return {
        module: MessagingModule,
        imports: [OutboxModule.forRoot({ ...outbox, transport: inProcess({ exchange: 'shop' }) })],
      };
    }
    return {
      module: MessagingModule,
      imports: [
        PatientRabbitMQModule.forRoot({
          uri: rabbitmqUrl,
          exchanges: [{ name: 'shop', type: 'topic' }],
          prefetchCount: 20,
          // The outbox says when the broker is away, once; this would say so at every try.
          connectionInitOptions: {
            wait: false,
            skipConnectionFailedLogging: true,
            skipDisconnectFailedLogging: true,
          },
          connectionManagerOptions: { reconnectTimeInSeconds: 1 },
        }),
        OutboxModule.forRoot({ ...outbox, transport: rabbitMq({ exchange: 'shop', sendTimeoutMs: 3_000 }) }),
      ],
    };
  }
}
