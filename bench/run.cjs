'use strict';

// `npm run bench`: installs what only the benchmarks need, builds the library, and runs main.ts.
const { execFileSync } = require('node:child_process');
const { existsSync } = require('node:fs');
const { join } = require('node:path');

const root = join(__dirname, '..');
const npm = (args, cwd) =>
  execFileSync('npm', args, { cwd, stdio: 'inherit', shell: process.platform === 'win32' });

const asksOnly = process.argv.some((argument) => argument === '--help' || argument === '--list');
if (!asksOnly) {
  if (!existsSync(join(__dirname, 'node_modules', '.package-lock.json'))) npm(['ci'], __dirname);
  // What is measured is what would be published, not what the editor holds.
  npm(['run', '--silent', 'build'], root);
}

require('./harness/typescript.cjs').compileAll();
require('./main.ts');
