'use strict';

const base = require('../../jest.config.js');

/**
 * The specs that touch TypeORM, against TypeORM 0.3: everybody who asks for `typeorm`, `@nestjs/typeorm` included,
 * gets the `typeorm-0.3` of the development dependencies.
 *
 * @type {import('jest').Config}
 */
module.exports = {
  ...base,
  rootDir: '../..',
  moduleNameMapper: {
    ...base.moduleNameMapper,
    '^typeorm$': '<rootDir>/node_modules/typeorm-0.3',
    '^typeorm/(.*)$': '<rootDir>/node_modules/typeorm-0.3/$1',
  },
  testMatch: [
    '<rootDir>/test/{unit,integration}/{transaction,store,module}/**/*.spec.ts',
    '<rootDir>/test/contracts/**/*store*.spec.ts',
    '<rootDir>/test/integration/idempotency/{batch,concurrency,handling}.spec.ts',
  ],
};
