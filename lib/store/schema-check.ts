import { Logger } from '@nestjs/common';
import type { DataSource } from 'typeorm';

import { SchemaMismatchError } from '../core/errors';
import { isMissingTableError } from './database-errors';
import type { OutboxDialect } from './dialects/dialect.port';
import { applySchema } from './migrations/apply-schema';
import { SCHEMA_VERSION } from './migrations/schema-version';
import type { RelayDataSource } from './relay-data-source';
import type { TableNames } from './table-names';

const REMEDY =
  `Give the data source \`migrations: outboxMigrations()\` (from 'nestjs-outbox/migrations', with the same tables option) ` +
  `and \`migrationsRun: true\`, or run TypeORM's CLI: typeorm migration:run -d <data source>.`;

interface InstalledSchema {
  readonly version: number | string;
  readonly compatible_from: number | string;
}

/** What `verify()` of the stores does, once for all of them. */
export class SchemaCheck {
  private checking: Promise<void> | undefined;

  constructor(
    private readonly application: DataSource,
    private readonly database: RelayDataSource,
    private readonly outbox: OutboxDialect,
    private readonly names: TableNames,
  ) {}

  /** Rejects with an error that names the remedy; may be called again after that. */
  run(): Promise<void> {
    this.checking ??= this.check().catch((error: unknown) => {
      this.checking = undefined;
      throw error;
    });
    return this.checking;
  }

  private async check(): Promise<void> {
    await this.outbox.verifyServer(this.database);
    let installed = await this.installed();
    if (installed === null && this.application.options.synchronize === true) {
      await this.outbox.exclusively(this.database, (statements) => applySchema(statements, this.names));
      new Logger('OutboxStore').log(
        `Made the tables of the outbox (${this.names.message}, …), as synchronize is on`,
      );
      installed = await this.installed();
    }
    if (installed === null) {
      throw new SchemaMismatchError(`The table ${this.names.version} is not there. ${REMEDY}`);
    }
    if (Number(installed.version) < SCHEMA_VERSION) {
      throw new SchemaMismatchError(
        `The outbox's tables have version ${installed.version}, and this version of nestjs-outbox needs ${SCHEMA_VERSION}. ${REMEDY}`,
      );
    }
    if (Number(installed.compatible_from) > SCHEMA_VERSION) {
      throw new SchemaMismatchError(
        `The outbox's tables have version ${installed.version}, which works with code for version ` +
          `${installed.compatible_from} or later, and this one is for ${SCHEMA_VERSION}. Install a newer nestjs-outbox.`,
      );
    }
  }

  /** The newest version that was installed; null: none. */
  private async installed(): Promise<InstalledSchema | null> {
    try {
      const rows = (await this.database.query(
        `SELECT version, compatible_from FROM ${this.names.version} ORDER BY version DESC LIMIT 1`,
      )) as InstalledSchema[];
      return rows[0] ?? null;
    } catch (error) {
      if (isMissingTableError(error)) return null;
      throw error;
    }
  }
}
