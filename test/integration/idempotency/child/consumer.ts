import { RabbitSubscribe } from '@golevelup/nestjs-rabbitmq';
import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { Idempotent } from '../../../../lib/decorators/idempotent.decorator';
import { startConsumerApp } from '../consumer-app';
import { addEffect } from '../effects';

/** Where this process kills itself. */
export type CrashPoint =
  | 'in the handler'
  | 'after the commit'
  | 'after the retry was published'
  // It hangs there, and its parent kills it.
  | 'in the alarm'
  | 'nowhere';

const [type, databaseUrl, brokerUrl, crashPoint] = process.argv.slice(2) as [
  'postgres' | 'mysql',
  string,
  string,
  CrashPoint,
];

function dieAt(point: CrashPoint): void {
  if (point === crashPoint) process.kill(process.pid, 'SIGKILL');
}

@Injectable()
class Handlers {
  constructor(private readonly dataSource: DataSource) {}

  @RabbitSubscribe({ exchange: 'shop', routingKey: 'crash', queue: 'crash' })
  @Idempotent()
  async onMessage(event: { id: string; isPoisonous?: boolean }): Promise<void> {
    if (event.isPoisonous === true) throw new Error('Never to be handled');
    await addEffect(this.dataSource, event.id);
    dieAt('in the handler');
    if (crashPoint === 'after the retry was published') throw new Error('To be tried again');
  }
}

async function main(): Promise<void> {
  const app = await startConsumerApp({
    database: { type, url: databaseUrl },
    brokerUrl,
    providers: [Handlers],
    alarm: () => {
      process.send?.('alarm');
      return crashPoint === 'in the alarm' ? new Promise<void>(() => undefined) : undefined;
    },
  });
  app.events.on('inbox.handled', () => {
    // The transaction is committed, and golevelup has not acknowledged yet.
    dieAt('after the commit');
    process.send?.('handled');
  });
  // The broker has the copy, and the original is not acknowledged yet.
  app.events.on('inbox.retry', () => dieAt('after the retry was published'));
  app.events.on('inbox.duplicate', () => process.send?.('duplicate'));
  process.on('message', () => void app.close().then(() => process.exit()));
  process.send?.('ready');
}

void main();
