'use strict';

/*
 * Runs the tests against NestJS 12, in a copy of the sources beside an installation of its own. Arguments go to jest.
 */
const { spawnSync } = require('node:child_process');
const { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');

const REPOSITORY = join(__dirname, '..', '..');
const COPY = join(REPOSITORY, '.work', 'nest-12');
const SOURCES = ['lib', 'sample-app', 'test', 'jest.config.js', 'tsconfig.json', '.npmrc'];

/** Tools for building and checking, which the tests do without. */
const TOOLS = ['@nestjs/cli', 'eslint', 'prettier', 'typescript', 'typescript-eslint'];

function manifest() {
  const root = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8'));
  const difference = JSON.parse(readFileSync(join(__dirname, 'package.json'), 'utf8'));
  const { name, version, exports, dependencies, allowScripts } = root;
  const devDependencies = { ...root.devDependencies, ...difference.devDependencies };
  for (const tool of TOOLS) delete devDependencies[tool];
  const { overrides } = difference;
  return { name, version, private: true, exports, dependencies, devDependencies, overrides, allowScripts };
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: COPY, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

mkdirSync(COPY, { recursive: true });
for (const source of SOURCES) {
  rmSync(join(COPY, source), { recursive: true, force: true });
  if (existsSync(join(REPOSITORY, source))) {
    cpSync(join(REPOSITORY, source), join(COPY, source), { recursive: true });
  }
}

const wanted = `${JSON.stringify(manifest(), null, 2)}\n`;
const installed = join(COPY, 'package.json');
if (!existsSync(join(COPY, 'node_modules')) || readFileSync(installed, 'utf8') !== wanted) {
  rmSync(join(COPY, 'package-lock.json'), { force: true });
  writeFileSync(installed, wanted);
  run('npm', ['install', '--no-audit', '--no-fund']);
}
const nest = JSON.parse(readFileSync(join(COPY, 'node_modules', '@nestjs', 'core', 'package.json'), 'utf8'));
if (!nest.version.startsWith('12.')) throw new Error(`This is NestJS ${nest.version}`);
const jest = join(COPY, 'node_modules', 'jest', 'bin', 'jest.js');
run(process.execPath, [jest, '--config', 'test/nest-12/jest.config.js', ...process.argv.slice(2)]);
