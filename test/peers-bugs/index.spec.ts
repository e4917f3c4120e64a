import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(__dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** The table of README.md: a bug, the tests that prove it, and what to remove to see them fail. */
const rows = read('test/peers-bugs/README.md')
  .split('\n')
  .filter((line) => /^\| \d+ /.test(line))
  .map((line) => line.split(' | ').map((cell) => cell.replace(/^\|\s*|\s*\|$/g, '').trim()))
  .map(([number, bug = '', tests = '', fix = '']) => ({ number: Number(number), bug, tests, fix }));

/** `path` and the titles after it: "`path`: “title”, “title”; `path`: “title”". */
function namedTests(cell: string): { path: string; titles: string[] }[] {
  return cell.split('; ').map((part) => ({
    path: /`([^`]+)`/.exec(part)?.[1] ?? '',
    titles: [...part.matchAll(/“([^”]+)”/g)].map((match) => match[1] as string),
  }));
}

describe('the table of the peers’ bugs', () => {
  it('has every bug once', () => {
    expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
    expect(new Set(rows.map(({ bug }) => bug)).size).toBe(20);
  });

  it.each(rows.map((row) => [row.bug, row] as const))('%s: names tests and a fix that exist', (_, row) => {
    const tests = namedTests(row.tests);
    expect(tests.length).toBeGreaterThan(0);
    for (const { path, titles } of tests) {
      expect(titles.length).toBeGreaterThan(0);
      const source = read(path);
      for (const title of titles) expect(source).toContain(`'${title}'`);
    }
    const files = [...row.fix.matchAll(/`(lib\/[^`]+\.ts)`/g)].map((match) => match[1] as string);
    expect(files.length).toBeGreaterThan(0);
    for (const file of files)
      expect({ file, exists: existsSync(join(root, file)) }).toEqual({ file, exists: true });
  });
});
