import type { MigrationInterface, QueryRunner } from 'typeorm';

import { tableOptions } from '../database/table-options';

export class CreateOrders1735689600001 implements MigrationInterface {
  async up(queryRunner: QueryRunner): Promise<void> {
    const options = tableOptions(queryRunner);
    await queryRunner.query(
      `CREATE TABLE orders (
        id varchar(36) NOT NULL PRIMARY KEY,
        customer_id varchar(64) NOT NULL,
        idempotency_key varchar(64) NOT NULL,
        status varchar(16) NOT NULL,
        total_cents bigint NOT NULL,
        UNIQUE (customer_id, idempotency_key)
      )${options}`,
    );
    await queryRunner.query(
      `CREATE TABLE order_items (
        order_id varchar(36) NOT NULL,
        sku varchar(64) NOT NULL,
        quantity integer NOT NULL,
        PRIMARY KEY (order_id, sku),
        FOREIGN KEY (order_id) REFERENCES orders (id)
      )${options}`,
    );
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE order_items');
    await queryRunner.query('DROP TABLE orders');
  }
}
