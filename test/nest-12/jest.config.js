'use strict';

const base = require('../../jest.config.js');

/** NestJS 12, and of what it depends on all that is not CommonJS: Node loads it with require(), jest does not. */
const ES_MODULES = ['@nestjs'];

/** @type {import('jest').Config} */
module.exports = {
  ...base,
  rootDir: '../..',
  transformIgnorePatterns: [`/node_modules/(?!(?:${ES_MODULES.join('|')})/)`],
  // What does not run on NestJS, or is about the package rather than its code.
  testPathIgnorePatterns: ['/test/support/', '/test/architecture', '/test/unit/readme', '/test/package/'],
};
