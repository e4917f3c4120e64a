import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { OutboxConfigurationError } from '../../lib/core/errors';
import type { TransportDefinition } from '../../lib/core/transport.port';
import { OUTBOX_DEFAULTS, type OutboxModuleOptions } from '../../lib/outbox.options';
import { resolveOutboxOptions } from '../../lib/outbox.options-resolution';

const transport: TransportDefinition = {
  kind: 'fake',
  destinationOf: (type) => type,
  orderScopeOf: (destination) => destination,
  create: () => {
    throw new Error('not made in this test');
  },
};

const refused = (options: unknown): OutboxConfigurationError => {
  try {
    resolveOutboxOptions(options as OutboxModuleOptions);
  } catch (error) {
    if (error instanceof OutboxConfigurationError) return error;
    throw error;
  }
  throw new Error('was accepted');
};

describe('resolveOutboxOptions', () => {
  it('puts every default in its place', () => {
    const resolved = resolveOutboxOptions({ transport });
    expect(resolved.transports).toEqual({ default: transport });
    expect(resolved.defaultTransport).toBe('default');
    expect(resolved).toMatchObject(OUTBOX_DEFAULTS);
  });

  it('keeps what was given and leaves the defaults beside it', () => {
    const resolved = resolveOutboxOptions({
      transport,
      relay: { leaseMs: 60_000 },
      retry: { attemptsMax: 3 },
    });
    expect(resolved.relay).toEqual({ ...OUTBOX_DEFAULTS.relay, leaseMs: 60_000 });
    expect(resolved.retry).toEqual({ ...OUTBOX_DEFAULTS.retry, attemptsMax: 3 });
  });

  it('takes undefined for not given, as options from the environment often are', () => {
    expect(resolveOutboxOptions({ transport, relay: { leaseMs: undefined as never } }).relay.leaseMs).toBe(
      30_000,
    );
  });

  it('takes the first of several transports as the default one', () => {
    const resolved = resolveOutboxOptions({ transport: { rabbit: transport, local: transport } });
    expect(resolved.defaultTransport).toBe('rabbit');
  });

  it('needs no transport to consume', () => {
    expect(resolveOutboxOptions({ role: 'consumer' }).defaultTransport).toBeNull();
  });

  it.each<[string, unknown, string]>([
    ['no transport', {}, 'transport'],
    ['an unknown role', { role: 'sender', transport }, 'role'],
    ['a misspelt option', { transport, relais: {} }, 'relais'],
    ['a misspelt nested option', { transport, relay: { leaseMS: 1 } }, 'relay.leaseMS'],
    ['a lease of nothing', { transport, relay: { leaseMs: 0 } }, 'relay.leaseMs'],
    ['a text where a number belongs', { transport, relay: { leaseMs: '30s' } }, 'relay.leaseMs'],
    ['half a row', { transport, relay: { claimSizeMax: 1.5 } }, 'relay.claimSizeMax'],
    [
      'cron and interval together',
      { transport, relay: { cron: '* * * * * *', intervalMs: 5 } },
      'relay.cron',
    ],
    ['jitter above one', { transport, retry: { jitter: 2 } }, 'retry.jitter'],
    ['a back-off that shrinks', { transport, retry: { factor: 0.5 } }, 'retry.factor'],
    ['an inbox shorter than the retries', { transport, retention: { inboxMs: 60_000 } }, 'retention.inboxMs'],
    [
      'dead letters that would be deleted unheard',
      { transport, retention: { deadLetterMs: 35_000 } },
      'retention.deadLetterMs',
    ],
    ['no retry delay', { transport, idempotency: { retryDelaysMs: [] } }, 'idempotency.retryDelaysMs'],
  ])('refuses %s and names the option', (_what, options, option) => {
    const error = refused(options);
    expect(error.option).toBe(option);
    expect(error.message.length).toBeGreaterThan(option.length + 10);
  });

  describe('its documentation', () => {
    const source = readFileSync(join(__dirname, '../../lib/outbox.options.ts'), 'utf8');

    /** `/** … @default X *\/ name?:` pairs of one interface. */
    const documented = (interfaceName: string): [string, string][] => {
      const body =
        new RegExp(`export interface ${interfaceName} \\{([\\s\\S]*?)\\n\\}`).exec(source)?.[1] ?? '';
      return [...body.matchAll(/@default ([^\n]*?)(?: \*\/|\n)[\s\S]*?\n? {2}(\w+)\?:/g)].map(
        ([, value, name]) => [name ?? '', (value ?? '').trim()],
      );
    };

    it.each<[string, object]>([
      ['RelayOptions', OUTBOX_DEFAULTS.relay],
      ['RetryOptions', OUTBOX_DEFAULTS.retry],
      ['RetentionOptions', OUTBOX_DEFAULTS.retention],
      ['IdempotencyOptions', OUTBOX_DEFAULTS.idempotency],
      ['TableOptions', OUTBOX_DEFAULTS.tables],
    ])('states each default of %s as it is', (interfaceName, defaults) => {
      const stated = documented(interfaceName);
      expect(stated.map(([name]) => name).sort()).toEqual(Object.keys(defaults).sort());
      for (const [name, text] of stated) {
        const real: unknown = (defaults as Record<string, unknown>)[name];
        const literal = text.replace(/ \(.*\)$/, '').replace(/'/g, '"');
        expect([name, literal]).toEqual([
          name,
          real === undefined ? 'undefined' : JSON.stringify(real).replaceAll(',', ', '),
        ]);
      }
    });
  });
});
