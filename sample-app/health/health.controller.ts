import { Controller, Get, ServiceUnavailableException } from '@nestjs/common';
import { OutboxRelay } from 'nestjs-outbox';

export interface Health {
  status: 'ok';
  database: 'up';
  /** A broker that is away does not make the shop ill: it takes orders, and sends their messages later. */
  messaging: 'up' | 'paused' | 'unreachable';
}

@Controller('health')
export class HealthController {
  constructor(private readonly relay: OutboxRelay) {}

  @Get()
  async check(): Promise<Health> {
    const stats = await this.relay.stats().catch(() => undefined);
    if (!stats) throw new ServiceUnavailableException({ status: 'error', database: 'down' });
    return { status: 'ok', database: 'up', messaging: Object.values(stats.paused)[0] ?? 'up' };
  }
}
