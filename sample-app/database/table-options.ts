import type { QueryRunner } from 'typeorm';

/**
 * What stands behind CREATE TABLE. PostgreSQL compares text by its bytes; MySQL, unless it is told to, takes `MUG` and
 * `mug` for one and the same.
 */
export function tableOptions(queryRunner: QueryRunner): string {
  return queryRunner.connection.options.type === 'mysql' ? ' CHARACTER SET utf8mb4 COLLATE utf8mb4_bin' : '';
}
