'use strict';

// Preloaded by `node -r`: runs the benchmarks' own TypeScript as it stands. The library is never run this way: its name
// leads to the built package, through the package's own `exports`.
//
// What is compiled is kept, and the first process compiles all of it: a compiler takes 30 MiB, and the processes that are
// measured must not have one.
require('reflect-metadata');
const { createHash, randomUUID } = require('node:crypto');
const { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const Module = require('node:module');
const { join, resolve } = require('node:path');

const root = resolve(__dirname, '../..');
const [[, swcOptions]] = Object.values(require(join(root, 'jest.config.js')).transform);
// As if the repository's root asked for its own package by name.
const asker = Object.assign(new Module('bench'), { filename: join(root, 'package.json') });

const resolveFilename = Module._resolveFilename;
Module._resolveFilename = function (request, ...rest) {
  if (/^nestjs-outbox(\/|$)/.test(request)) return resolveFilename.call(this, request, asker, false);
  return resolveFilename.call(this, request, ...rest);
};

const kept = join(root, 'bench/node_modules/.cache/compiled');

function compiled(filename) {
  const source = readFileSync(filename, 'utf8');
  const key = createHash('sha256')
    .update(JSON.stringify([swcOptions, filename, source]))
    .digest('hex');
  const path = join(kept, `${key}.js`);
  try {
    return readFileSync(path, 'utf8');
  } catch {
    const { transformSync } = require('@swc/core');
    const { code } = transformSync(source, { ...swcOptions, filename, swcrc: false });
    mkdirSync(kept, { recursive: true });
    // Written aside, so that no other process reads half of it.
    const aside = join(kept, randomUUID());
    writeFileSync(aside, code);
    renameSync(aside, path);
    return code;
  }
}

Module._extensions['.ts'] = (module, filename) => module._compile(compiled(filename), filename);

/** Compiles all that processes may load. */
exports.compileAll = () => {
  for (const folder of ['bench', 'test/support']) {
    for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
      const isSource = entry.isFile() && /(?<!\.d)\.ts$/.test(entry.name);
      if (isSource && !/node_modules/.test(entry.parentPath)) compiled(join(entry.parentPath, entry.name));
    }
  }
};
