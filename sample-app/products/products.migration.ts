import type { MigrationInterface, QueryRunner } from 'typeorm';

import { tableOptions } from '../database/table-options';

export class CreateProducts1735689600000 implements MigrationInterface {
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(
      `CREATE TABLE products (
        sku varchar(64) NOT NULL PRIMARY KEY,
        name varchar(200) NOT NULL,
        price_cents integer NOT NULL,
        stock integer NOT NULL CHECK (stock >= 0)
      )${tableOptions(queryRunner)}`,
    );
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE products');
  }
}
