'use strict';

/*
 * Runs the unit and integration tests with Node 24, which npm fetches for the occasion. Arguments replace the
 * directories that jest is given.
 */
const { spawnSync } = require('node:child_process');
const { join } = require('node:path');

const REPOSITORY = join(__dirname, '..', '..');
const DIRECTORIES = ['test/unit', 'test/contracts', 'test/integration'];

/** The packages with the binary itself; `node` would fetch one of them in an install script. */
const binary = process.platform === 'darwin' ? 'node-bin-darwin' : `node-${process.platform}`;

const directories = process.argv.length > 2 ? process.argv.slice(2) : DIRECTORIES;
const check = 'if (!/^v24\\./.test(process.version)) throw new Error(`This is Node ${process.version}`)';
const npx = (...args) => ['-y', '-p', `${binary}-${process.arch}@24`, '--', 'node', ...args];

for (const args of [npx('-e', check), npx('node_modules/jest/bin/jest.js', ...directories)]) {
  const { status, error } = spawnSync('npx', args, { cwd: REPOSITORY, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
