'use strict';

// Preloaded by `node -r`: runs the benchmarks' own TypeScript as it stands, once, when it is loaded. The library is never
// run this way: its name leads to the built package, through the package's own `exports`.
require('reflect-metadata');
const { transformSync } = require('@swc/core');
const { readFileSync } = require('node:fs');
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

Module._extensions['.ts'] = (module, filename) => {
  const { code } = transformSync(readFileSync(filename, 'utf8'), { ...swcOptions, filename, swcrc: false });
  module._compile(code, filename);
};
