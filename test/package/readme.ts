import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const REPOSITORY = join(__dirname, '../..');
const README = readFileSync(join(REPOSITORY, 'README.md'), 'utf8');

/** The files of the quick start, word for word: a code block that follows a line which begins with its name. */
export function quickStartFiles(): Map<string, string> {
  const section = /\n## Quick start\n([\s\S]*?)\n## /.exec(README)?.[1] ?? '';
  const blocks = section.matchAll(/\n`([\w.-]+\.ts)`[^\n]*\n\n```ts\n([\s\S]*?)```/g);
  return new Map([...blocks].map(([, name = '', code = '']) => [name, code]));
}

/** The quick start's command for an application on this version of NestJS. */
export function installCommand(nestMajor: 11 | 12): string {
  const [command] =
    README.match(new RegExp(`npm install nestjs-outbox [^\\n]*@nestjs/typeorm@${nestMajor}[^\\n]*`)) ?? [];
  if (command === undefined) throw new Error(`The README has no install command for NestJS ${nestMajor}`);
  return command;
}

/** What the README has an application on NestJS 12 write into its package.json. */
export function overridesForNest12(): object {
  const [, block = ''] = /```json\n(\{\s*"overrides"[\s\S]*?)```/.exec(README) ?? [];
  return (JSON.parse(block) as { overrides: object }).overrides;
}
