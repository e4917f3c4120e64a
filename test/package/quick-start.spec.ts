import { execFile } from 'node:child_process';
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { createTestDatabase, type TestDatabase } from '../support/shared-servers';
import { installCommand, overridesForNest12, quickStartFiles, REPOSITORY } from './readme';

const execute = promisify(execFile);
const QUIET = ['--no-audit', '--no-fund', '--loglevel=error'];

/** What the quick start takes for granted: an application as `nest new` makes it. */
const FRESH_APPLICATIONS = [
  {
    name: 'NestJS 11, CommonJS',
    major: 11,
    packageType: 'commonjs',
    overrides: {},
  },
  {
    name: 'NestJS 12, ES modules',
    major: 12,
    packageType: 'module',
    overrides: overridesForNest12(),
  },
] as const;

/** Uses the application as a person would who has pasted it: places an order, and waits for the handler's line. */
const MAIN = `
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { OutboxRelay } from 'nestjs-outbox';

import { AppModule } from './app.module';
import { OrdersService } from './orders.service';

async function run(): Promise<void> {
  const app = await NestFactory.createApplicationContext(AppModule, { logger: ['log', 'warn', 'error'] });
  await app.get(OrdersService).place('anna');
  await app.get(OutboxRelay).flush();
  console.log(JSON.stringify(await app.get(OutboxRelay).stats()));
  await app.close();
}
void run();
`;

describe('the package, as it is published', () => {
  let folder: string;
  let tarball: string;
  let database: TestDatabase;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'nestjs-outbox-package-'));
    database = await createTestDatabase('postgres');
    const { stdout } = await execute('npm', ['pack', '--json', '--silent', '--pack-destination', folder], {
      cwd: REPOSITORY,
      maxBuffer: 1e8,
    });
    const [packed] = JSON.parse(stdout.slice(stdout.indexOf('[\n'))) as [{ filename: string }];
    tarball = join(folder, packed.filename);
  }, 120_000);

  afterAll(async () => {
    await database.drop();
    await rm(folder, { recursive: true, force: true });
  });

  it('has the library, its types and its papers, and nothing else', async () => {
    const { stdout } = await execute('tar', ['-tzf', tarball]);
    const files = stdout.trim().split('\n');
    expect(files.filter((file) => !/^package\/dist\/lib\/.*\.(js|d\.ts)$/.test(file)).sort()).toEqual([
      'package/CHANGELOG.md',
      'package/LICENSE',
      'package/README.md',
      'package/package.json',
    ]);
  });

  it('finds all files of the quick start in the README', () => {
    expect([...quickStartFiles().keys()]).toEqual([
      'app.module.ts',
      'orders.service.ts',
      'carts.consumer.ts',
      'order.entity.ts',
    ]);
  });

  it.each(FRESH_APPLICATIONS)(
    'runs the quick start in a fresh application: $name',
    async ({ major, packageType, overrides }) => {
      const application = join(folder, `nest-${major}`);
      await mkdir(join(application, 'src'), { recursive: true });
      const npm = (...args: string[]) =>
        execute('npm', [...args, ...QUIET], { cwd: application, maxBuffer: 1e8 });
      const manifest = {
        name: 'fresh',
        private: true,
        type: packageType,
        dependencies: {
          '@nestjs/common': `^${major}.0.0`,
          '@nestjs/core': `^${major}.0.0`,
          '@nestjs/platform-express': `^${major}.0.0`,
          'reflect-metadata': '^0.2.2',
          rxjs: '^7.8.1',
        },
        devDependencies: { typescript: '~6.0.3', '@types/node': '^20.0.0' },
        overrides,
      };
      await writeFile(join(application, 'package.json'), JSON.stringify(manifest));
      const packages = installCommand(major)
        .replace(/^npm install nestjs-outbox/, '')
        .trim()
        .split(/\s+/);
      await npm('install', tarball, ...packages);

      const tsconfig = {
        compilerOptions: {
          module: 'node20',
          target: 'ES2022',
          strict: true,
          // As nest new writes it: the typings of @golevelup/nestjs-rabbitmq need some that it does not bring.
          skipLibCheck: true,
          experimentalDecorators: true,
          emitDecoratorMetadata: true,
          types: ['node'],
          rootDir: 'src',
          outDir: 'dist',
        },
        include: ['src'],
      };
      await writeFile(join(application, 'tsconfig.json'), JSON.stringify(tsconfig));
      for (const [name, code] of [...quickStartFiles(), ['main.ts', MAIN] as const]) {
        // An ES module names the files that it imports whole.
        const source = packageType === 'module' ? code.replace(/from '(\.\/[^']+)'/g, "from '$1.js'") : code;
        await writeFile(join(application, 'src', name), source);
      }
      await execute('npx', ['tsc', '-p', '.'], { cwd: application });
      const { stdout } = await execute(process.execPath, ['dist/main.js'], {
        cwd: application,
        env: { ...process.env, DATABASE_URL: database.url, NO_COLOR: '1' },
      });
      expect(stdout).toMatch(/Order [0-9a-f-]{36}: clearing the cart of anna/);
      expect(stdout).toMatch(/"pending":0/);
      expect(stdout).not.toMatch(/WARN|ERROR/);
    },
    300_000,
  );
});
