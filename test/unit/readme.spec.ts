import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import * as publicApi from '../../lib/index';
import { OUTBOX_DEFAULTS } from '../../lib/outbox.options';

const README = readFileSync(join(__dirname, '../../README.md'), 'utf8');

/** The cells of a table's rows, by the heading that it stands under. */
function rows(heading: string): string[][] {
  const section = README.split(/\n## /).find((text) => text.startsWith(heading)) ?? '';
  return section
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .slice(2, -2)
        .split(' | ')
        .map((cell) => cell.trim()),
    );
}

describe('the README', () => {
  it('states every option of the module with its default', () => {
    const stated = new Map(
      rows('Options').map(([name = '', value = '']) => [name.replaceAll('`', ''), value.replaceAll('`', '')]),
    );
    const written = (value: unknown): string =>
      value === undefined ? 'none' : JSON.stringify(value).replaceAll('"', "'").replaceAll(',', ', ');
    for (const [name, value] of Object.entries(OUTBOX_DEFAULTS)) {
      if (typeof value === 'object' && value !== null) {
        for (const [part, partValue] of Object.entries(value)) {
          expect([`${name}.${part}`, stated.get(`${name}.${part}`)]).toEqual([
            `${name}.${part}`,
            written(partValue),
          ]);
        }
      } else {
        expect([name, stated.get(name)]).toEqual([name, written(value)]);
      }
    }
  });

  it('states no option that there is not', () => {
    const known = Object.entries(OUTBOX_DEFAULTS).flatMap(([name, value]) =>
      typeof value === 'object' && value !== null
        ? Object.keys(value).map((part) => `${name}.${part}`)
        : [name],
    );
    const stated = rows('Options').map(([name = '']) => name.replaceAll('`', ''));
    const dotted = stated.filter((name) => name.includes('.'));
    expect(dotted.filter((name) => !known.includes(name))).toEqual([]);
  });

  it('lists every error code with its class', () => {
    const inCode = Object.entries(publicApi as Record<string, unknown>)
      .filter(
        ([name, value]) => name.endsWith('Error') && typeof value === 'function' && name !== 'OutboxError',
      )
      .map(([name]) => name);
    const source = readFileSync(join(__dirname, '../../lib/core/errors.ts'), 'utf8');
    const codes = [
      ...source.matchAll(/class (\w+) extends OutboxError \{[\s\S]*?readonly code = '(\w+)'/g),
    ].map(([, name, code]) => `${code} ${name}`);
    expect(codes).toHaveLength(inCode.length);
    const listed = rows('Error codes').map(([code, name]) => `${code} ${name}`.replaceAll('`', ''));
    expect(listed.sort()).toEqual(codes.sort());
  });

  it('names every figure of stats(), and no other', () => {
    const source = ['outbox-store.port', 'relay-control.port'].map(readCore).join('\n');
    const figures = [
      ...source.matchAll(/interface (?:StoreStats|OutboxStats)[^{]*\{([\s\S]*?)\n\}/g),
    ].flatMap(([, fields = '']) => [...fields.matchAll(/readonly (\w+):/g)].map(([, name]) => name));
    const [, sentence = ''] = /`relay\.stats\(\)` gives ([^.]*)\./.exec(README) ?? [];
    expect(figures.length).toBeGreaterThan(5);
    expect([...sentence.matchAll(/`(\w+)`/g)].map(([, name]) => name).sort()).toEqual(figures.sort());
  });

  it('names every reason of explain(), and no other', () => {
    const reasons = [...readCore('explanation').matchAll(/readonly reason:([^;]*);/g)].flatMap(
      ([, union = '']) => [...union.matchAll(/'([\w-]+)'/g)].map(([, reason]) => reason),
    );
    const section = README.split(/\n#+ /).find((text) => text.startsWith('Why is a message not sent?')) ?? '';
    const named = [...section.matchAll(/^\| (`[^|]*`) +\|/gm)].flatMap(([, cell = '']) =>
      [...cell.matchAll(/`([\w-]+)`/g)].map(([, reason]) => reason),
    );
    expect(reasons.length).toBeGreaterThan(10);
    expect(named.filter((name) => name !== 'reason').sort()).toEqual(reasons.sort());
  });
});

function readCore(name: string): string {
  return readFileSync(join(__dirname, `../../lib/core/${name}.ts`), 'utf8');
}
