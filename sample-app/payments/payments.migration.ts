import type { MigrationInterface, QueryRunner } from 'typeorm';

import { tableOptions } from '../database/table-options';

export class CreatePayments1735689600003 implements MigrationInterface {
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(
      `CREATE TABLE payment_requests (
        id varchar(36) NOT NULL PRIMARY KEY,
        order_id varchar(36) NOT NULL,
        customer_id varchar(64) NOT NULL,
        amount_cents bigint NOT NULL,
        status varchar(16) NOT NULL
      )${tableOptions(queryRunner)}`,
    );
    await queryRunner.query('CREATE INDEX payment_requests_order ON payment_requests (order_id)');
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE payment_requests');
  }
}
