import type { MigrationInterface, QueryRunner } from 'typeorm';

import { tableOptions } from '../database/table-options';

export class CreateDroppedDuplicates1735689600004 implements MigrationInterface {
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(
      `CREATE TABLE dropped_duplicates (
        id varchar(36) NOT NULL PRIMARY KEY,
        consumer varchar(255) NOT NULL,
        message_key varchar(255) NOT NULL
      )${tableOptions(queryRunner)}`,
    );
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE dropped_duplicates');
  }
}
