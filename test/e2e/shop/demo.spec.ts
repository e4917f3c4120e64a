import { type TestDatabase, createTestDatabase } from '../../support/shared-servers';
import { ShopProcess } from './support/shop-process';

/** The parts of the demo that run once, on one of the combinations; plug.spec.ts runs all of them in small. */
describe('the demo', () => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await createTestDatabase('postgres');
  }, 60_000);
  afterAll(() => database.drop());

  it('kills the shop in a flash sale, and everything adds up', async () => {
    const demo = ShopProcess.run('demo/main.ts', { DATABASE_URL: database.url });
    const exitCode = await demo.end();
    expect(demo.output).toContain('shop killed (SIGKILL)');
    expect(demo.output).toMatch(/^orders committed +1,100 +1,100 +ok$/m);
    expect(demo.output).toMatch(/^payments requested +1,100 +1,100 +ok$/m);
    expect(demo.output).toMatch(/^lost +0 +0 +ok$/m);
    expect(demo.output).toMatch(/^doubled +0 +0 +ok$/m);
    expect(exitCode).toBe(0);
  }, 240_000);

  it('fails where its shop cannot start', async () => {
    await database.drop();
    const demo = ShopProcess.run('demo/main.ts', { DATABASE_URL: database.url });
    expect(await demo.end()).toBe(1);
    expect(demo.output).toMatch(/^The shop cannot open: database "\w+" does not exist$/m);
    expect(demo.output).toContain('The demo failed: the shop did not start');
  }, 60_000);
});
