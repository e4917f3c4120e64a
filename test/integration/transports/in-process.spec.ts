import { AsyncLocalStorage } from 'node:async_hooks';
import { Nack, RabbitPayload, RabbitSubscribe, defaultNackErrorHandler } from '@golevelup/nestjs-rabbitmq';
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
  type CallHandler,
  type PipeTransform,
  Scope,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { Test, type TestingModule } from '@nestjs/testing';
import type { ConsumeMessage } from 'amqplib';
import { type InProcessOptions, inProcess } from 'nestjs-outbox/in-process';
import { tap } from 'rxjs';
import type { Transport } from '../../../lib/core/transport.port';
import { UnprocessableMessageError } from '../../../lib/core/errors';
import { deferred, signal } from '../../support/signal';
import { waitFor } from '../../support/wait-for';
import {
  Outcomes,
  applicationContext,
  claimedMessage,
  claimedMessages,
} from '../../contracts/transport.fixtures';

describe('In-process transport', () => {
  let application: TestingModule;
  let transport: Transport;
  let outcomes: Outcomes;
  const logger = {
    log() {},
    error() {},
    warn(_text: string): unknown {
      return undefined;
    },
  };

  async function start(classes: object[], options: InProcessOptions = {}, controllers: object[] = []) {
    application = await Test.createTestingModule({
      imports: [DiscoveryModule],
      providers: classes as never[],
      controllers: controllers as never[],
    })
      .setLogger(logger)
      .compile();
    transport = await inProcess({ exchange: 'shop', ...options }).create(applicationContext(application));
    await transport.start();
    outcomes = new Outcomes(transport);
  }

  afterEach(async () => {
    await transport?.stop();
    await application?.close();
  });

  it('runs a handler through its guards, interceptors and pipes', async () => {
    const steps: unknown[] = [];
    @Injectable()
    class Guard implements CanActivate {
      canActivate(context: ExecutionContext) {
        steps.push(`guard ${context.getType()} ${context.getHandler().name}`);
        return context.getArgByIndex<{ allowed: boolean }>(0).allowed;
      }
    }
    @Injectable()
    class Around implements NestInterceptor {
      intercept(_context: ExecutionContext, next: CallHandler) {
        steps.push('before');
        return next.handle().pipe(tap(() => steps.push('after')));
      }
    }
    class Upper implements PipeTransform<{ name: string }> {
      transform(value: { name: string }) {
        return value.name.toUpperCase();
      }
    }
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.*', queue: 'cart' })
      @UseGuards(Guard)
      @UseInterceptors(Around)
      placed(@RabbitPayload(Upper) name: string) {
        steps.push(name);
      }
    }
    await start([Handlers, Guard, Around]);
    const message = claimedMessage({
      payload: Buffer.from(JSON.stringify({ allowed: true, name: 'ann' })),
      headers: { trace: '1' },
      key: 'k',
      attempts: 2,
    });
    const denied = claimedMessage({ payload: Buffer.from(JSON.stringify({ allowed: false, name: 'bob' })) });
    await outcomes.sendAndSettle([message]);
    expect(outcomes.of(message)).toEqual({ kind: 'confirmed' });
    expect(steps).toEqual(['guard rmq bound placed', 'before', 'ANN', 'after']);
    await outcomes.sendAndSettle([denied]);
    expect(outcomes.of(denied)).toMatchObject({
      kind: 'refused',
      retry: true,
      error: expect.stringMatching(/Forbidden/),
    });
    expect(steps).not.toContain('BOB');
  });

  it('gives handlers the raw message, as RabbitMQ would', async () => {
    let seen: [unknown, ConsumeMessage, unknown] | undefined;
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.*', queue: 'cart' })
      placed(...args: [unknown, ConsumeMessage, unknown]) {
        seen = args;
      }
    }
    await start([Handlers]);
    const message = claimedMessage({ headers: { trace: '1' }, key: 'k', attempts: 2, schemaVersion: 4 });
    await outcomes.sendAndSettle([message]);
    const headers = { trace: '1', 'x-outbox-key': 'k', 'x-outbox-schema-version': '4' };
    expect(seen![0]).toEqual({ a: 1 });
    expect(seen![1]).toMatchObject({
      content: message.payload,
      fields: { exchange: 'shop', routingKey: 'order.placed', redelivered: true },
      properties: { messageId: message.id, type: 'order.placed', appId: 'shop', deliveryMode: 2, headers },
    });
    expect(seen![2]).toEqual(headers);
  });

  it('confirms when all handlers have finished, and runs none of them again but the one that failed', async () => {
    const runs = { cart: 0, mail: 0, stock: 0 };
    const cart = deferred<void>();
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.placed', queue: 'cart' })
      async cart() {
        runs.cart += 1;
        await cart.promise;
      }
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'order.#', queue: 'mail' })
      mail() {
        runs.mail += 1;
        if (runs.mail < 3) throw new Error('no mail server');
      }
      @RabbitSubscribe({ exchange: 'shop', routingKey: ['order.placed', '#'], queue: 'stock' })
      stock() {
        runs.stock += 1;
      }
    }
    await start([Handlers]);
    const message = claimedMessage();
    outcomes.send([message]);
    await waitFor(() => runs.mail === 1 && runs.stock === 1);
    expect(outcomes.all).toEqual([]);
    cart.resolve();
    await outcomes.settled([message]);
    expect(outcomes.of(message)).toEqual({
      kind: 'refused',
      retry: true,
      error: 'Handlers.mail: no mail server',
    });
    expect(runs).toEqual({ cart: 1, mail: 1, stock: 1 });
    for (const kind of ['refused', 'confirmed', 'confirmed'] as const) {
      const again = new Outcomes(transport);
      await again.sendAndSettle([message]);
      expect(again.of(message).kind).toBe(kind);
    }
    // Confirmed at the third run; the fourth send is a new one, e.g. a redrive of a sent message, for all.
    expect(runs).toEqual({ cart: 2, mail: 4, stock: 2 });
  });

  it('tells from what a handler says whether a retry makes sense', async () => {
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'nack.requeue', queue: 'a' })
      requeue() {
        return new Nack(true);
      }
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'nack.drop', queue: 'b' })
      drop() {
        return new Nack(false);
      }
      @RabbitSubscribe({
        exchange: 'shop',
        routingKey: 'never',
        queue: 'c',
        errorHandler: defaultNackErrorHandler,
      })
      never() {
        throw new Error('never');
      }
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'unprocessable', queue: 'd' })
      unprocessable() {
        throw new UnprocessableMessageError('no key');
      }
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'read', queue: 'e' })
      read() {}
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'text', queue: 'f', allowNonJsonMessages: true })
      text() {}
    }
    await start([Handlers]);
    const payload = Buffer.from('{');
    const cases = {
      'nack.requeue': { kind: 'refused', retry: true },
      'nack.drop': { kind: 'refused', retry: false },
      never: { kind: 'refused', retry: false },
      unprocessable: { kind: 'refused', retry: false },
      read: { kind: 'refused', retry: false, error: expect.stringMatching(/cannot read it/) },
      text: { kind: 'confirmed' },
    };
    for (const [type, expected] of Object.entries(cases)) {
      const message = claimedMessage({ type, ...(type === 'read' || type === 'text' ? { payload } : {}) });
      await outcomes.sendAndSettle([message]);
      expect(outcomes.of(message)).toMatchObject(expected);
    }
  });

  it('does not ask a consumer again that has given a message up, while a sibling is still retried', async () => {
    const runs = { dropper: 0, failer: 0 };
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: '#', queue: 'dropper' })
      dropper() {
        runs.dropper += 1;
        return new Nack(false);
      }
      @RabbitSubscribe({ exchange: 'shop', routingKey: '#', queue: 'failer' })
      failer() {
        runs.failer += 1;
        if (runs.failer < 2) throw new Error('not yet');
      }
    }
    await start([Handlers]);
    const message = claimedMessage();
    await outcomes.sendAndSettle([message]);
    expect(outcomes.of(message)).toMatchObject({ kind: 'refused', retry: true });
    const again = new Outcomes(transport);
    await again.sendAndSettle([message]);
    expect(again.of(message)).toMatchObject({ kind: 'refused', retry: false });
    expect(runs).toEqual({ dropper: 1, failer: 2 });
    const redriven = new Outcomes(transport);
    await redriven.sendAndSettle([message]);
    expect(runs).toEqual({ dropper: 2, failer: 2 });
  });

  it('routes by topic, direct and fanout exchanges, by several bindings, by queue, once a queue', async () => {
    const got: string[] = [];
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'a.*.c', queue: 'topic' })
      topic() {
        got.push('topic');
      }
      @RabbitSubscribe({ exchange: 'exact', routingKey: 'a.*.c', queue: 'direct' })
      direct() {
        got.push('direct');
      }
      @RabbitSubscribe({ exchange: 'all', routingKey: 'x', queue: 'fanout' })
      fanout() {
        got.push('fanout');
      }
      @RabbitSubscribe({
        queue: 'both',
        bindings: [
          { exchange: 'shop', routingKey: 'a.#' },
          { exchange: 'exact', routingKey: 'a.b.c' },
        ],
      })
      both(_payload: unknown, { fields }: ConsumeMessage) {
        got.push(`both by ${fields.exchange}`);
      }
    }
    await start([Handlers], { exchanges: { exact: 'direct', all: 'fanout' }, unroutable: 'retry' });
    const cases: [string, string[]][] = [
      ['shop/a.b.c', ['both by shop', 'topic']],
      ['exact/a.b.c', ['both by exact']],
      ['exact/a.*.c', ['direct']],
      ['all/whatever', ['fanout']],
      ['*/a.b.c', ['both by shop', 'fanout', 'topic']],
      ['/direct', ['direct']],
      ['shop/b', []],
      ['nowhere/a', []],
    ];
    for (const [destination, expected] of cases) {
      got.length = 0;
      const message = claimedMessage({ destination });
      await outcomes.sendAndSettle([message]);
      expect([destination, [...got].sort()]).toEqual([destination, expected]);
      expect(outcomes.of(message).kind).toBe(expected.length > 0 ? 'confirmed' : 'refused');
    }
  });

  it('counts a message without a handler as sent, says so once, and refuses it where that is asked for', async () => {
    const warnings: string[] = [];
    logger.warn = (text: string) => warnings.push(text);
    await start([]);
    const messages = [claimedMessage(), claimedMessage(), claimedMessage({ type: 'b' })];
    await outcomes.sendAndSettle(messages);
    expect(outcomes.kinds(messages)).toEqual(['confirmed']);
    expect(warnings.filter((text) => text.includes('No handler is bound for'))).toHaveLength(2);
    await transport.stop();
    warnings.length = 0;
    await start([], { unroutable: { a: 'retry', b: 'deadLetter', c: 'accept' } });
    const asked = ['a', 'b', 'c'].map((type) => claimedMessage({ type }));
    await outcomes.sendAndSettle(asked);
    expect(asked.map((message) => outcomes.of(message))).toMatchObject([
      { kind: 'refused', retry: true },
      { kind: 'refused', retry: false },
      { kind: 'confirmed' },
    ]);
    expect(warnings).toEqual([]);
  });

  it('keeps to its limits, of the transport and of a queue, and to the order of a key', async () => {
    let now = 0;
    let most = 0;
    const order: string[] = [];
    const keys = new Set<string>();
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'many', queue: 'many' })
      async many() {
        now += 1;
        most = Math.max(most, now);
        await new Promise((resolve) => setImmediate(resolve));
        now -= 1;
      }
      @RabbitSubscribe({ exchange: 'shop', routingKey: 'keyed', queue: 'keyed' })
      async keyed(_payload: unknown, { properties }: ConsumeMessage) {
        const key = (properties.headers as Record<string, string>)['x-outbox-key']!;
        if (keys.has(key)) throw new Error('two of one key at a time');
        keys.add(key);
        await new Promise((resolve) => setImmediate(resolve));
        keys.delete(key);
        order.push(properties.messageId as string);
      }
    }
    await start([Handlers], { concurrencyMax: 5, prefetch: 8 });
    const many = claimedMessages(100, { type: 'many' });
    await outcomes.sendAndSettle(many);
    expect(most).toBe(5);
    await transport.stop();

    most = 0;
    await start([Handlers], { concurrencyMax: 50, prefetch: 3 });
    await outcomes.sendAndSettle(claimedMessages(100, { type: 'many' }));
    expect(most).toBe(3);
    await transport.stop();

    await start([Handlers], { concurrencyMax: 50, prefetch: 20 });
    const keyed = claimedMessages(60, { type: 'keyed' }).map((message, index) => ({
      ...message,
      key: `k${index % 3}`,
    }));
    await outcomes.sendAndSettle(keyed);
    expect(outcomes.kinds(keyed)).toEqual(['confirmed']);
    for (const key of ['k0', 'k1', 'k2']) {
      const ids = keyed.filter((message) => message.key === key).map(({ id }) => id);
      expect(order.filter((id) => ids.includes(id))).toEqual(ids);
    }
  });

  it('gathers batches, and does not let one bad message take the others with it', async () => {
    const batches: number[] = [];
    @Injectable()
    class Handlers {
      @RabbitSubscribe({
        exchange: 'shop',
        routingKey: '#',
        queue: 'batch',
        batchOptions: { size: 4, timeout: 30 },
      })
      batch(payloads: { bad?: boolean }[], raws: ConsumeMessage[], headers: unknown[]) {
        batches.push(payloads.length);
        expect(raws).toHaveLength(payloads.length);
        expect(headers).toHaveLength(payloads.length);
        if (payloads.some(({ bad }) => bad)) throw new Error('bad');
      }
    }
    await start([Handlers]);
    const good = claimedMessages(10);
    await outcomes.sendAndSettle(good);
    expect(batches).toEqual([4, 4, 2]);
    batches.length = 0;
    const [a, b, c, d] = claimedMessages(4) as [never, never, never, never];
    const bad = claimedMessage({ payload: Buffer.from('{"bad":true}') });
    const unreadable = claimedMessage({ payload: Buffer.from('{') });
    await outcomes.sendAndSettle([a, bad, b, c, unreadable, d]);
    expect(outcomes.kinds([a, b, c, d])).toEqual(['confirmed']);
    expect(outcomes.of(bad)).toMatchObject({ kind: 'refused', retry: true });
    expect(outcomes.of(unreadable)).toMatchObject({ kind: 'refused', retry: false });
    expect(batches).toEqual([4, 1, 1, 1, 1, 1]);
  });

  it('finds handlers in controllers, once where they have an alias, and refuses request-scoped ones', async () => {
    const got: string[] = [];
    @Controller()
    class Web {
      @RabbitSubscribe({ exchange: 'shop', routingKey: '#', queue: 'web' })
      handle() {
        got.push('web');
      }
    }
    @Injectable()
    class Worker {
      @RabbitSubscribe({ exchange: 'shop', routingKey: '#' })
      handle() {
        got.push('worker');
      }
    }
    await start([Worker, { provide: 'ALIAS', useExisting: Worker }], {}, [Web]);
    await outcomes.sendAndSettle([claimedMessage()]);
    expect(got.sort()).toEqual(['web', 'worker']);
    await transport.stop();

    @Injectable({ scope: Scope.REQUEST })
    class Scoped {
      @RabbitSubscribe({ exchange: 'shop', routingKey: '#', queue: 'scoped' })
      handle() {}
    }
    await expect(start([Scoped])).rejects.toThrow(/Scoped.handle cannot handle messages/);
  });

  it('runs handlers outside of the sender’s transaction', async () => {
    const storage = new AsyncLocalStorage<string>();
    let seen: string | undefined = 'never ran';
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: '#', queue: 'q' })
      async handle() {
        await Promise.resolve();
        seen = storage.getStore();
      }
    }
    application = await Test.createTestingModule({
      imports: [DiscoveryModule],
      providers: [Handlers],
    }).compile();
    transport = await inProcess().create({
      ...applicationContext(application),
      outside: (work) => storage.exit(work),
    });
    await transport.start();
    outcomes = new Outcomes(transport);
    const message = claimedMessage({ destination: '*' });
    storage.run('a transaction', () => {
      outcomes.send([message]);
    });
    await outcomes.settled([message]);
    expect(seen).toBeUndefined();
  });

  it('waits for running handlers when it stops, begins no more, and settles the rest', async () => {
    const begun: string[] = [];
    const gate = deferred<void>();
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: '#', queue: 'slow' })
      async slow(_payload: unknown, { properties }: ConsumeMessage) {
        begun.push(properties.messageId as string);
        await gate.promise;
      }
    }
    await start([Handlers], { concurrencyMax: 6, prefetch: 2 });
    const messages = claimedMessages(20);
    outcomes.send(messages);
    await waitFor(() => begun.length === 2);
    const stopped = signal('stop');
    void transport.stop().then(() => stopped.fire());
    await waitFor(() => outcomes.all.length === 14);
    expect(stopped.fired).toBe(false);
    gate.resolve();
    await stopped.wait();
    await outcomes.settled(messages);
    expect(
      messages.filter((message) => outcomes.of(message).kind === 'confirmed').map(({ id }) => id),
    ).toEqual(begun);
    expect(begun).toHaveLength(2);
    expect(outcomes.all).toHaveLength(20);
  });

  it('does not wait for a handler that never ends', async () => {
    const never = deferred<void>();
    const begun = signal('handler');
    @Injectable()
    class Handlers {
      @RabbitSubscribe({ exchange: 'shop', routingKey: '#', queue: 'stuck' })
      async stuck() {
        begun.fire();
        await never.promise;
      }
    }
    await start([Handlers], { stopTimeoutMs: 50 });
    const message = claimedMessage();
    outcomes.send([message]);
    await begun.wait();
    await transport.stop();
    expect(outcomes.of(message).kind).toBe('unreachable');
    never.resolve();
  });
});
