import {
  MessageHandlerErrorBehavior,
  Nack,
  RabbitPayload,
  RabbitSubscribe,
} from '@golevelup/nestjs-rabbitmq';
import {
  type ArgumentsHost,
  type CanActivate,
  Catch,
  type ExceptionFilter,
  type ExecutionContext,
  Injectable,
  ParseUUIDPipe,
  UseGuards,
} from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { type ConsumeMessage } from 'amqplib';
import { randomUUID } from 'node:crypto';
import { type Observable, of, throwError } from 'rxjs';
import { DataSource } from 'typeorm';
import { Idempotent } from '../../../lib/decorators/idempotent.decorator';
import { createTestDatabase, createVhost, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { type ConsumerApp, QUICK, startConsumerApp } from './consumer-app';
import { addEffect, createEffects, effectsOf, inboxKeys } from './effects';
import { TestBroker } from './test-broker';

interface Call {
  readonly message: ConsumeMessage;
  readonly atMs: number;
  readonly exchange: string;
  readonly routingKey: string;
}

/** What each queue's handler was called with, and what it is to do next. */
@Injectable()
class Script {
  private readonly calls = new Map<string, Call[]>();
  readonly steps = new Map<string, ((attempt: number) => unknown)[]>();

  constructor(readonly dataSource: DataSource) {}

  callsOf(id: string): Call[] {
    return this.calls.get(id) ?? [];
  }

  /** Writes the effect, and then does what the message's script says for this attempt. */
  async play(message: ConsumeMessage): Promise<unknown> {
    const id = String(message.properties.messageId);
    const calls = this.callsOf(id);
    const { exchange, routingKey } = message.fields;
    calls.push({ message, atMs: performance.now(), exchange, routingKey });
    this.calls.set(id, calls);
    await addEffect(this.dataSource, id, `attempt ${calls.length}`);
    const steps = this.steps.get(id) ?? [];
    return steps[Math.min(calls.length, steps.length) - 1]?.(calls.length);
  }
}

const fail = (): never => {
  throw new Error('The stock is short');
};

@Injectable()
class RefusingGuard implements CanActivate {
  canActivate(_context: ExecutionContext): boolean {
    return false;
  }
}

/** As an HTTP application has it: answers everything, and so swallows it. */
@Catch()
class SwallowingFilter implements ExceptionFilter {
  static caught = 0;
  catch(_exception: unknown, _host: ArgumentsHost): unknown {
    SwallowingFilter.caught += 1;
    return 'answered';
  }
}

@Injectable()
class Handlers {
  static ownErrorHandled: unknown[] = [];

  constructor(private readonly script: Script) {}

  @Idempotent()
  @RabbitSubscribe({
    exchange: 'shop',
    routingKey: 'plain.#',
    queue: 'plain',
    errorBehavior: MessageHandlerErrorBehavior.REQUEUE,
  })
  plain(_payload: unknown, message: ConsumeMessage): Promise<unknown> {
    return this.script.play(message);
  }

  @RabbitSubscribe({ exchange: 'shop', routingKey: 'guarded', queue: 'guarded' })
  @UseGuards(RefusingGuard)
  @Idempotent()
  guarded(_payload: unknown, message: ConsumeMessage): Promise<unknown> {
    return this.script.play(message);
  }

  @RabbitSubscribe({ exchange: 'shop', routingKey: 'piped', queue: 'piped' })
  @Idempotent()
  async piped(@RabbitPayload('id', new ParseUUIDPipe()) id: string): Promise<void> {
    await addEffect(this.script.dataSource, id);
  }

  @RabbitSubscribe({ exchange: 'shop', routingKey: 'observed', queue: 'observed' })
  @Idempotent()
  observed(payload: { fails: boolean }): Observable<string> {
    return payload.fails ? throwError(() => new Error('In the stream')) : of('one', 'two');
  }

  @RabbitSubscribe({
    exchange: 'shop',
    routingKey: 'quorum',
    queue: 'quorum',
    queueOptions: { durable: true, arguments: { 'x-queue-type': 'quorum' } },
  })
  @Idempotent()
  quorum(_payload: unknown, message: ConsumeMessage): Promise<unknown> {
    return this.script.play(message);
  }

  @RabbitSubscribe({
    exchange: 'shop',
    routingKey: 'own',
    queue: 'own',
    errorHandler: (channel, message, error) => {
      Handlers.ownErrorHandled.push(error);
      channel.ack(message);
    },
  })
  @Idempotent()
  own(_payload: unknown, message: ConsumeMessage): Promise<unknown> {
    return this.script.play(message);
  }
}

describe('what a handler did not take', () => {
  let database: TestDatabase;
  let broker: TestBroker;
  let app: ConsumerApp;
  let script: Script;

  beforeAll(async () => {
    database = await createTestDatabase('postgres');
    const { url } = await createVhost();
    broker = await TestBroker.connect(url);
    app = await startConsumerApp({
      database,
      brokerUrl: url,
      providers: [Script, Handlers, { provide: APP_FILTER, useClass: SwallowingFilter }],
    });
    script = app.context.get(Script);
    await createEffects(app.dataSource);
  });

  afterAll(async () => {
    await app?.close();
    await broker?.close();
    await database?.drop();
  });

  const deadLetter = (id: string | null) =>
    app.events.next('inbox.deadLetter', (event) => event.messageKey === id);
  const handled = (id: string) => app.events.next('inbox.handled', (event) => event.messageKey === id);

  it('is tried again after a delay, in no hot loop, and ends in the dead-letter queue with the alarm', async () => {
    const id = randomUUID();
    script.steps.set(id, [fail]);
    const alarm = deadLetter(id);
    await broker.publish(
      'plain.order',
      { id },
      {
        messageId: id,
        headers: { tenant: 'acme', 'x-outbox-key': 'order-1' },
        correlationId: 'c-1',
        appId: 'orders',
        priority: 3,
        timestamp: 1_700_000_000,
      },
    );
    expect(await alarm).toEqual({
      consumer: 'plain',
      messageKey: id,
      attempts: 3,
      error: 'The stock is short',
    });

    const calls = script.callsOf(id);
    expect(calls).toHaveLength(QUICK.attemptsMax);
    const gaps = calls.slice(1).map((call, index) => call.atMs - (calls[index]?.atMs ?? 0));
    for (const gap of gaps) expect(gap).toBeGreaterThanOrEqual(QUICK.retryDelaysMs[0] ?? 0);

    const { content, properties } = await broker.take('plain.dead');
    expect(JSON.parse(content.toString())).toEqual({ id });
    expect(properties).toMatchObject({
      messageId: id,
      type: 'plain.order',
      contentType: 'application/json',
      correlationId: 'c-1',
      appId: 'orders',
      priority: 3,
      timestamp: 1_700_000_000,
      deliveryMode: 2,
    });
    expect(properties.headers).toMatchObject({
      tenant: 'acme',
      'x-outbox-key': 'order-1',
      'x-outbox-attempts': 3,
      'x-outbox-error': 'The stock is short',
      'x-outbox-exchange': 'shop',
      'x-outbox-routing-key': 'plain.order',
      'x-outbox-queue': 'plain',
      'x-outbox-consumer': 'plain',
    });
    expect(Date.parse(String(properties.headers?.['x-outbox-died-at']))).toBeGreaterThan(Date.now() - 60_000);
    expect(await effectsOf(app.dataSource, id)).toEqual([]);
    expect(await inboxKeys(app.dataSource, 'plain')).not.toContain(id);
    expect(await broker.count('plain')).toBe(0);
  });

  it('takes effect when a later try succeeds, and is shown where it came from', async () => {
    const id = randomUUID();
    script.steps.set(id, [fail, () => undefined]);
    const done = handled(id);
    await broker.publish('plain.paid.late', { id }, { messageId: id });
    await done;
    expect(await effectsOf(app.dataSource, id)).toEqual(['attempt 2']);
    expect(script.callsOf(id).map(({ exchange, routingKey }) => [exchange, routingKey])).toEqual([
      ['shop', 'plain.paid.late'],
      ['shop', 'plain.paid.late'],
    ]);
  });

  it('is kept when it cannot be read', async () => {
    const id = randomUUID();
    const alarm = deadLetter(id);
    await broker.publish('plain.order', Buffer.from('{"id": '), { messageId: id });
    expect((await alarm).attempts).toBe(3);
    const { content, properties } = await broker.take('plain.dead');
    expect(content.toString()).toBe('{"id": ');
    expect(properties.headers?.['x-outbox-error']).toContain('JSON');
    expect(script.callsOf(id)).toEqual([]);
  });

  it('is kept when a guard refuses it', async () => {
    const id = randomUUID();
    const alarm = deadLetter(id);
    await broker.publish('guarded', {}, { messageId: id });
    expect((await alarm).error).toContain('Forbidden');
    expect((await broker.take('guarded.dead')).properties.messageId).toBe(id);
    expect(script.callsOf(id)).toEqual([]);
  });

  it('is kept when a pipe refuses it, and leaves no inbox row', async () => {
    const id = randomUUID();
    const alarm = deadLetter(id);
    await broker.publish('piped', { id: 'not a uuid' }, { messageId: id });
    expect((await alarm).error).toContain('uuid');
    expect(await inboxKeys(app.dataSource, 'piped')).toEqual([]);
  });

  it('is given up at once when it has no id', async () => {
    const alarm = deadLetter(null);
    await broker.publish('plain.order', { no: 'id' }, { messageId: undefined });
    expect(await alarm).toMatchObject({ consumer: 'plain', attempts: 1 });
    const { properties } = await broker.take('plain.dead');
    expect(properties.messageId).toBeUndefined();
    expect(properties.headers?.['x-outbox-error']).toContain('the message id is missing');
    expect(script.callsOf('undefined')).toEqual([]);
  });

  it('is given up at once when the handler returns Nack()', async () => {
    const id = randomUUID();
    script.steps.set(id, [() => new Nack()]);
    const alarm = deadLetter(id);
    await broker.publish('plain.order', {}, { messageId: id });
    expect((await alarm).attempts).toBe(1);
    expect((await broker.take('plain.dead')).properties.messageId).toBe(id);
    expect(await effectsOf(app.dataSource, id)).toEqual([]);
    expect(await inboxKeys(app.dataSource, 'plain')).not.toContain(id);
  });

  it('is tried again after a delay when the handler returns Nack(true)', async () => {
    const id = randomUUID();
    script.steps.set(id, [() => new Nack(true), () => undefined]);
    const retry = app.events.next('inbox.retry', (event) => event.messageKey === id);
    const done = handled(id);
    await broker.publish('plain.order', {}, { messageId: id });
    expect(await retry).toMatchObject({ attempts: 1, retryInMs: 100 });
    await done;
    expect(await effectsOf(app.dataSource, id)).toEqual(['attempt 2']);
  });

  it('is not lost to an exception filter that swallows errors', () => {
    // The filter of this application does so; all the tests here pass beside it.
    expect(SwallowingFilter.caught).toBe(0);
  });

  it('is tried again when the stream that the handler returned fails', async () => {
    const [good, bad] = [randomUUID(), randomUUID()];
    const done = handled(good);
    const alarm = deadLetter(bad);
    await broker.publish('observed', { fails: false }, { messageId: good });
    await broker.publish('observed', { fails: true }, { messageId: bad });
    await done;
    expect((await alarm).error).toBe('In the stream');
    expect(await inboxKeys(app.dataSource, 'observed')).toEqual([good]);
  });

  it('goes through quorum queues where its own is one', async () => {
    const id = randomUUID();
    script.steps.set(id, [fail]);
    const alarm = deadLetter(id);
    await broker.publish('quorum', {}, { messageId: id });
    expect((await alarm).attempts).toBe(3);
    expect((await broker.take('quorum.dead')).properties.messageId).toBe(id);
    // Asserting it as a classic queue would be refused.
    await broker.declare('quorum.dead', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  });

  it('is left to an errorHandler of the application', async () => {
    const id = randomUUID();
    script.steps.set(id, [fail]);
    await broker.publish('own', {}, { messageId: id });
    await waitFor(() => Handlers.ownErrorHandled.length > 0);
    expect(Handlers.ownErrorHandled).toEqual([new Error('The stock is short')]);
    expect(await effectsOf(app.dataSource, id)).toEqual([]);
  });

  it('obeys no old instructions to the broker: neither CC nor an expiration', async () => {
    const id = randomUUID();
    script.steps.set(id, [fail]);
    await broker.declare('copies', { durable: true });
    const alarm = deadLetter(id);
    await broker.publish(
      'plain.order',
      {},
      { messageId: id, expiration: 60_000, CC: 'copies', userId: 'guest' },
    );
    await alarm;
    const { properties } = await broker.take('plain.dead');
    expect(properties.expiration).toBeUndefined();
    expect(properties.headers).toMatchObject({ 'x-outbox-user-id': 'guest' });
    expect(await broker.count('copies')).toBe(0);
  });

  it('finds its way when somebody has deleted the retry queue', async () => {
    const id = randomUUID();
    script.steps.set(id, [fail, () => undefined]);
    await broker.delete('plain.retry.100');
    const done = handled(id);
    await broker.publish('plain.order', {}, { messageId: id });
    await done;
    expect(await effectsOf(app.dataSource, id)).toEqual(['attempt 2']);
  });

  it('begins anew when a person puts a dead letter back', async () => {
    const id = randomUUID();
    script.steps.set(id, [fail]);
    const alarm = deadLetter(id);
    await broker.publish('plain.order', { id }, { messageId: id });
    await alarm;
    const { content, properties } = await broker.take('plain.dead');
    const again = deadLetter(id);
    await broker.publish('plain.order', content, { messageId: id, headers: properties.headers });
    expect((await again).attempts).toBe(3);
    expect(script.callsOf(id)).toHaveLength(6);
    const second = await broker.take('plain.dead');
    expect(second.properties.headers?.['x-outbox-attempts']).toBe(3);
  });
});
