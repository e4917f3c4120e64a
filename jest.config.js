'use strict';

const packageEntries = {
  '^nestjs-outbox$': '<rootDir>/lib/index.ts',
  '^nestjs-outbox/rabbitmq$': '<rootDir>/lib/transports/rabbitmq/index.ts',
  '^nestjs-outbox/in-process$': '<rootDir>/lib/transports/in-process/index.ts',
  '^nestjs-outbox/testing$': '<rootDir>/lib/testing/index.ts',
  '^nestjs-outbox/migrations$': '<rootDir>/lib/store/migrations/index.ts',
};

/** The same decorators, metadata and class fields as tsconfig.json. */
const swcOptions = {
  jsc: {
    target: 'es2022',
    keepClassNames: true,
    parser: { syntax: 'typescript', decorators: true },
    transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
  },
  module: { type: 'commonjs' },
  sourceMaps: 'inline',
};

const totalsReporter = '<rootDir>/test/support/jest/totals-reporter.js';

/** @type {import('jest').Config} */
module.exports = {
  testMatch: ['<rootDir>/test/**/*.spec.ts'],
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/.work/'],
  moduleNameMapper: packageEntries,
  transform: { '^.+\\.[cm]?[jt]s$': ['@swc/jest', swcOptions] },
  testEnvironment: '<rootDir>/test/support/jest/leak-checking-environment.ts',
  globalSetup: '<rootDir>/test/support/jest/global-setup.ts',
  globalTeardown: '<rootDir>/test/support/jest/global-teardown.ts',
  setupFiles: ['reflect-metadata'],
  reporters: ['default', ...(process.env.TEST_TOTALS_FILE ? [totalsReporter] : [])],
  testTimeout: 30_000,
  maxWorkers: 2,
};
