'use strict';

// Preloaded by `node -r`: lets a child process run our TypeScript as it stands, as jest does for its own processes.
require('reflect-metadata');
const { transformSync } = require('@swc/core');
const { readFileSync } = require('node:fs');
const Module = require('node:module');
const { join, resolve } = require('node:path');

const root = resolve(__dirname, '../..');
const { moduleNameMapper, transform } = require(join(root, 'jest.config.js'));
const [[, swcOptions]] = Object.values(transform);
const entries = Object.entries(moduleNameMapper).map(([pattern, path]) => [
  new RegExp(pattern),
  path.replace('<rootDir>', root),
]);

const resolveFilename = Module._resolveFilename;
Module._resolveFilename = function (request, ...rest) {
  const entry = entries.find(([pattern]) => pattern.test(request));
  return resolveFilename.call(this, entry ? entry[1] : request, ...rest);
};

Module._extensions['.ts'] = (module, filename) => {
  const { code } = transformSync(readFileSync(filename, 'utf8'), { ...swcOptions, filename, swcrc: false });
  module._compile(code, filename);
};
