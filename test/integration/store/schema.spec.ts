import { DataSource, type DataSourceOptions, DefaultNamingStrategy, EntitySchema } from 'typeorm';
import { OutboxConfigurationError, SchemaMismatchError } from '../../../lib/core/errors';
import { createStores, type Stores, type StoresOptions } from '../../../lib/store/create-stores';
import type { OutboxMessageEntity } from '../../../lib/store/entities/entity-types';
import { outboxEntities, outboxMigrations } from '../../../lib/store/migrations';
import { resolveTableNames } from '../../../lib/store/table-names';
import { born, hashOf, message, terms } from '../../contracts/outbox-store.harness';
import { createTestDatabase, type TestDatabase } from '../../support/shared-servers';

const Order = new EntitySchema<{ id: number; text: string }>({
  name: 'Order',
  columns: { id: { type: Number, primary: true, generated: true }, text: { type: String } },
});

describe.each(['postgres', 'mysql'] as const)('The schema on %s', (type) => {
  let database: TestDatabase;
  const open: { close(): Promise<void> }[] = [];
  beforeEach(async () => {
    database = await createTestDatabase(type);
  });
  afterEach(async () => {
    for (const one of open.splice(0).reverse()) await one.close();
    await database.drop();
  });

  async function connect(more: Partial<DataSourceOptions> = {}): Promise<DataSource> {
    const dataSource = await new DataSource({
      type,
      url: database.url,
      ...more,
    } as DataSourceOptions).initialize();
    open.push({ close: () => dataSource.destroy() });
    return dataSource;
  }
  function stores(dataSource: DataSource, more: Partial<StoresOptions> = {}): Stores {
    const made = createStores({ dataSource, ...more });
    open.push(made);
    return made;
  }
  /** What TypeORM's `migration:generate` would write. */
  async function differences(dataSource: DataSource): Promise<string[]> {
    const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
    return upQueries.map(({ query }) => query);
  }
  /** Sends one message through, with its key and its inbox. */
  async function worksOn(dataSource: DataSource, { outbox, inbox, deadLetters }: Stores): Promise<void> {
    await outbox.verify();
    const [one, two] = [message({ key: 'k' }), message({ key: 'k' })];
    await dataSource.transaction('READ COMMITTED', async ({ queryRunner }) => {
      if (!queryRunner) throw new Error('There is no runner');
      await outbox.write(queryRunner, [one, two], born({ isolation: 'READ COMMITTED' }));
      expect(await inbox.add(queryRunner, [{ consumer: 'c', messageKey: one.id }])).toHaveLength(1);
    });
    expect(await outbox.claim(['default'], 9, terms())).toMatchObject([{ id: one.id }]);
    expect(await outbox.complete([one.id])).toBe(1);
    expect((await outbox.promote([hashOf('k')], terms())).claimed).toMatchObject([{ id: two.id }]);
    expect(await deadLetters.get(two.id)).toMatchObject({ status: 'pending' });
    expect(await outbox.stats()).toMatchObject({ pending: 1, sent: 1 });
    await outbox.complete([two.id]);
    expect(await outbox.purge({ status: 'sent', olderThanMs: -1_000, limit: 9 })).toBe(2);
  }

  describe('the migrations', () => {
    it.each(['all', 'each', 'none'] as const)(
      'run, and are undone, with transactions: %s',
      async (transaction) => {
        const dataSource = await connect({ migrations: outboxMigrations() });
        expect(await dataSource.runMigrations({ transaction })).toHaveLength(1);
        expect(await dataSource.runMigrations({ transaction })).toHaveLength(0);
        await worksOn(dataSource, stores(dataSource));
        await dataSource.undoLastMigration({ transaction });
        await expect(stores(dataSource).outbox.verify()).rejects.toThrow(SchemaMismatchError);
        expect(await dataSource.runMigrations({ transaction })).toHaveLength(1);
        await worksOn(dataSource, stores(dataSource));
      },
    );

    it('have names that TypeORM takes, and that two outboxes in one database do not share', () => {
      const names = [{}, { prefix: 'shop_' }, { schema: 'shop' }].flatMap((tables) =>
        outboxMigrations(tables).map((Migration) => new Migration().name as string),
      );
      expect(new Set(names).size).toBe(3);
      for (const name of names) expect(name).toMatch(/\D\d{13}$/);
    });

    it('go on where an interrupted run has stopped', async () => {
      const dataSource = await connect({ migrations: outboxMigrations() });
      await dataSource.runMigrations();
      const names = resolveTableNames(dataSource);
      await dataSource.query(`DROP TABLE ${names.version}`);
      if (type === 'mysql') await dataSource.query(`DELETE FROM ${names.key} WHERE bucket > 9`);
      await dataSource.query('DELETE FROM migrations');
      await dataSource.runMigrations();
      await worksOn(dataSource, stores(dataSource));
    });

    it('leave nothing to migration:generate, with our entities registered or not', async () => {
      const alone = await connect({ migrations: outboxMigrations(), entities: [Order] });
      await alone.synchronize();
      await alone.runMigrations();
      expect(await differences(alone)).toEqual([]);
      const along = await connect({ entities: [Order, ...outboxEntities(type)] });
      expect(await differences(along)).toEqual([]);
      await along.synchronize();
      await worksOn(along, stores(along));
    });
  });

  it('has the prefix and the schema that the options name, twice in one database', async () => {
    const schema = type === 'postgres' ? 'messaging' : `${database.name}_b`;
    const places = [{}, { prefix: 'shop_' }, { schema, prefix: 'shop_' }];
    const dataSource = await connect({ migrations: places.flatMap((tables) => outboxMigrations(tables)) });
    await dataSource.runMigrations();
    for (const tables of places) await worksOn(dataSource, stores(dataSource, { tables }));
    const other = stores(dataSource, { tables: places[2] });
    await dataSource.transaction(({ queryRunner }) =>
      queryRunner ? other.outbox.write(queryRunner, [message()], born()) : Promise.reject(new Error()),
    );
    const pending = places.map((tables) => stores(dataSource, { tables }).outbox.stats());
    expect((await Promise.all(pending)).map((stats) => stats.pending)).toEqual([0, 0, 1]);
    if (type === 'mysql') await dataSource.query(`DROP DATABASE ${schema}`);
  });

  if (type === 'postgres') {
    it("has the data source's own schema where the options name none", async () => {
      const dataSource = await connect({ schema: 'own', migrations: outboxMigrations() });
      // TypeORM keeps its own table of migrations there, and so wants the schema first.
      await dataSource.query('CREATE SCHEMA own');
      await dataSource.runMigrations();
      expect(resolveTableNames(dataSource).message).toBe('"own"."outbox_message"');
      await worksOn(dataSource, stores(dataSource));
    });
  }

  it("takes its names from the metadata where our entities are registered: TypeORM's prefix and naming strategy", async () => {
    class Plural extends DefaultNamingStrategy {
      override tableName(targetName: string, userSpecifiedName?: string): string {
        return `${super.tableName(targetName, userSpecifiedName)}s`;
      }
    }
    const dataSource = await connect({
      entityPrefix: 'app_',
      namingStrategy: new Plural(),
      entities: [Order, ...outboxEntities(type, { prefix: 'x_' })],
      migrations: outboxMigrations({ prefix: 'x_' }),
      migrationsRun: true,
    });
    expect(resolveTableNames(dataSource).bareMessage).toBe('app_x_outbox_messages');
    await worksOn(dataSource, stores(dataSource));
  });

  it('refuses a naming strategy that changes given column names', async () => {
    class Shouting extends DefaultNamingStrategy {
      override columnName(propertyName: string, customName: string, prefixes: string[]): string {
        return super.columnName(propertyName, customName, prefixes).toUpperCase();
      }
    }
    const dataSource = await connect({ namingStrategy: new Shouting(), entities: outboxEntities(type) });
    expect(() => createStores({ dataSource })).toThrow(OutboxConfigurationError);
    expect(() => createStores({ dataSource })).toThrow(/NEXT_ATTEMPT_AT|ID/);
  });

  it('can be read by repositories', async () => {
    const dataSource = await connect({
      entities: outboxEntities(type),
      migrations: outboxMigrations(),
      migrationsRun: true,
      timezone: 'Z',
    });
    const { outbox, inbox } = stores(dataSource);
    const one = message({ headers: { a: 'é' }, delayMs: 60_000 });
    await dataSource.transaction(async ({ queryRunner }) => {
      if (!queryRunner) throw new Error('There is no runner');
      await outbox.write(queryRunner, [one], born());
      await inbox.add(queryRunner, [{ consumer: 'c', messageKey: 'é' }]);
    });
    const found = await dataSource
      .getRepository<OutboxMessageEntity>('NestjsOutboxMessage')
      .findOneByOrFail({ id: one.id, status: 'pending' });
    expect(found).toMatchObject({ id: one.id, headers: { a: 'é' }, keyHash: null });
    expect(found).not.toHaveProperty('payload');
    expect(Math.abs(found.createdAt.getTime() - Date.now())).toBeLessThan(60_000);
    expect(found.nextAttemptAt.getTime() - found.createdAt.getTime()).toBe(60_000);
    const handled = await dataSource
      .getRepository('NestjsOutboxInboxMessage')
      .find({ where: { messageKey: 'é' } });
    expect(handled).toMatchObject([{ consumer: 'c', messageKey: 'é' }]);
    expect(await dataSource.getRepository('NestjsOutboxSchema').count()).toBe(1);
  });

  describe('verify', () => {
    it('names the remedy when the tables are not there, and may be asked again', async () => {
      const dataSource = await connect({ migrations: outboxMigrations() });
      const { outbox, inbox } = stores(dataSource);
      await expect(outbox.verify()).rejects.toThrow(SchemaMismatchError);
      await expect(inbox.verify()).rejects.toThrow(
        /outboxMigrations\(\).*migrationsRun: true.*migration:run/,
      );
      await dataSource.runMigrations();
      await expect(outbox.verify()).resolves.toBeUndefined();
      await expect(inbox.verify()).resolves.toBeUndefined();
    });

    it('makes the tables where the data source synchronizes, though many processes start at once', async () => {
      const dataSources = await Promise.all(
        [1, 2, 3].map(() => connect({ entities: [Order], migrations: outboxMigrations() })),
      );
      const synchronizing = dataSources.map((dataSource) => {
        Object.assign(dataSource.options, { synchronize: true });
        return stores(dataSource);
      });
      await Promise.all(synchronizing.map(({ outbox }) => outbox.verify()));
      await worksOn(dataSources[0] as DataSource, synchronizing[0] as Stores);
      // And who turns to migrations later finds nothing in the way.
      await (dataSources[1] as DataSource).runMigrations();
    });

    it.each([
      ['newer, and still compatible', 7, 1, null],
      ['newer than this code can work with', 7, 5, /Install a newer nestjs-outbox/],
      ['older than this code needs', 0, 0, /needs 1.*outboxMigrations/],
    ])('judges a schema that is %s', async (_, version, compatibleFrom, expected) => {
      const dataSource = await connect({ migrations: outboxMigrations(), migrationsRun: true });
      const names = resolveTableNames(dataSource);
      await dataSource.query(
        `UPDATE ${names.version} SET version = ${version}, compatible_from = ${compatibleFrom}`,
      );
      const verifying = stores(dataSource).outbox.verify();
      if (expected === null) await expect(verifying).resolves.toBeUndefined();
      else await expect(verifying).rejects.toThrow(expected);
    });

    it('passes on what else is wrong', async () => {
      const dataSource = await connect({ migrations: outboxMigrations(), migrationsRun: true });
      const { outbox } = stores(dataSource);
      await dataSource.query(
        `ALTER TABLE ${resolveTableNames(dataSource).version} RENAME COLUMN version TO edition`,
      );
      await expect(outbox.verify()).rejects.toThrow(/version/);
      await expect(outbox.verify()).rejects.not.toThrow(SchemaMismatchError);
    });
  });

  if (type === 'mysql') {
    it('finds it out when lock rows are missing, rather than lose the order of keys', async () => {
      const dataSource = await connect({ migrations: outboxMigrations(), migrationsRun: true });
      await dataSource.query('DELETE FROM outbox_key');
      const writing = dataSource.transaction(({ queryRunner }) =>
        queryRunner
          ? stores(dataSource).outbox.write(queryRunner, [message({ key: 'k' })], born())
          : Promise.reject(new Error()),
      );
      await expect(writing).rejects.toThrow(SchemaMismatchError);
    });
  }
});
