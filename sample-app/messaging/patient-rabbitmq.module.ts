import { RabbitMQModule } from '@golevelup/nestjs-rabbitmq';
import { Inject, Logger, type OnModuleInit } from '@nestjs/common';
import { OutboxRelay } from 'nestjs-outbox';

/**
 * RabbitMQModule for a shop that opens whether or not the broker is there. Two things are different:
 *
 * - The original lets the application start when the handlers are bound to their queues, so with no broker never. Here
 *   that goes on in the background.
 * - Until it is done, the outbox keeps its messages. On a new broker, one that leaves when the first queue is bound and
 *   the second one is not would never reach the second one.
 */
export class PatientRabbitMQModule extends RabbitMQModule implements OnModuleInit {
  @Inject(OutboxRelay)
  private readonly relay!: OutboxRelay;

  onModuleInit(): void {
    this.relay.pause();
  }

  override onApplicationBootstrap(): Promise<void> {
    super.onApplicationBootstrap().then(
      () => this.relay.resume(),
      (error: unknown) => new Logger(PatientRabbitMQModule.name).error('The handlers were not bound', error),
    );
    return Promise.resolve();
  }
}
