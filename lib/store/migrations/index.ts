import type { MigrationInterface, QueryRunner } from 'typeorm';

import { resolveTableNames, type TableLocation } from '../table-names';
import { applySchema, revertSchema } from './apply-schema';

export { outboxEntities } from '../entities/outbox-entities';
export type { TableLocation } from '../table-names';

/**
 * The migrations that make and keep the outbox's tables, for a TypeORM data source and its CLI:
 * `migrations: [...outboxMigrations(), 'dist/migrations/*.js']`, with `migrationsRun: true` or `typeorm migration:run`.
 * They find out at run time which server it is, and run once under their names, whenever they were added.
 *
 * @param tables the same as the module's option `tables`
 */
export function outboxMigrations(tables: TableLocation = {}): (new () => MigrationInterface)[] {
  // Two outboxes in one database, under two prefixes, are two sets of migrations: their names must differ.
  const place = [tables.schema, tables.prefix]
    .filter((part) => part !== undefined && part !== '')
    .map((part) => `_${part}`)
    .join('');

  class CreateOutbox implements MigrationInterface {
    readonly name = `NestjsOutbox${place}_1_1760000000001`;

    async up(queryRunner: QueryRunner): Promise<void> {
      await applySchema(queryRunner, resolveTableNames(queryRunner.connection, tables));
    }

    async down(queryRunner: QueryRunner): Promise<void> {
      await revertSchema(queryRunner, resolveTableNames(queryRunner.connection, tables));
    }
  }
  return [CreateOutbox];
}
