import { inProcess } from 'nestjs-outbox/in-process';
import { resolveInProcessOptions } from '../../../lib/transports/in-process/in-process.options';

describe('inProcess() options', () => {
  it.each<[string, object]>([
    ['inProcess.exchange', { exchange: '' }],
    ['inProcess.exchange', { exchange: 'a/b' }],
    ['inProcess.concurrency', { concurrency: 1 }],
    ['inProcess.exchanges.a', { exchanges: { a: 'headers' } }],
    ['inProcess.unroutable', { unroutable: 'drop' }],
    ['inProcess.unroutable.a', { unroutable: { a: 'drop' } }],
    ['inProcess.concurrencyMax', { concurrencyMax: 0 }],
    ['inProcess.prefetch', { prefetch: 0.5 }],
    ['inProcess.stopTimeoutMs', { stopTimeoutMs: -1 }],
  ])('refuses %s by name: %j', (option, options) => {
    expect(() => inProcess(options)).toThrow(
      expect.objectContaining({ code: 'OUTBOX_CONFIGURATION', option }),
    );
  });

  it('has the documented defaults', () => {
    expect(resolveInProcessOptions({})).toMatchObject({
      exchange: '*',
      exchanges: {},
      concurrencyMax: 16,
      prefetch: undefined,
      controllers: undefined,
      stopTimeoutMs: 10_000,
    });
  });

  it('reads destinations as RabbitMQ’s are read', () => {
    const definition = inProcess();
    expect(definition.destinationOf('a', undefined)).toBe('*');
    expect(inProcess({ exchange: 'shop' }).destinationOf('a', undefined)).toBe('shop');
    expect(definition.destinationOf('a', 'shop/b')).toBe('shop/b');
    expect(definition.orderScopeOf('shop/b')).toBe('shop');
    expect(() => definition.destinationOf('a', '')).toThrow(
      expect.objectContaining({ code: 'OUTBOX_INVALID_MESSAGE' }),
    );
  });
});
