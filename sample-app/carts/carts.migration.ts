import type { MigrationInterface, QueryRunner } from 'typeorm';

import { tableOptions } from '../database/table-options';

export class CreateCarts1735689600002 implements MigrationInterface {
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(
      `CREATE TABLE cart_items (
        customer_id varchar(64) NOT NULL,
        sku varchar(64) NOT NULL,
        quantity integer NOT NULL,
        PRIMARY KEY (customer_id, sku)
      )${tableOptions(queryRunner)}`,
    );
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE cart_items');
  }
}
