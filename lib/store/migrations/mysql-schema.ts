import type { TableNames } from '../table-names';
import { KEY_BUCKETS } from './schema-version';

/**
 * Version 1 on MySQL and MariaDB. No partial indexes here, so each index is led by the status: what is not due work is in
 * another part of the tree. Text compares by bytes. DDL commits by itself on these servers, so an interrupted run is
 * repeated from the start: the statements may run twice, and the version's row comes last.
 */
export function mysqlSchemaUp(names: TableNames): string[] {
  const ascii = 'CHARACTER SET ascii COLLATE ascii_bin';
  const table = 'ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin';
  const buckets = Array.from({ length: KEY_BUCKETS }, (_, bucket) => `(${bucket})`).join(',');
  return [
    `CREATE TABLE IF NOT EXISTS ${names.message} (
       id char(36) ${ascii} NOT NULL,
       seq bigint NOT NULL AUTO_INCREMENT,
       transport varchar(63) NOT NULL,
       destination varchar(255) NOT NULL,
       type varchar(255) NOT NULL,
       \`key\` varchar(255),
       key_hash bigint,
       tenant varchar(255),
       source varchar(255),
       payload longblob NOT NULL,
       content_type varchar(255) NOT NULL,
       content_encoding varchar(255),
       schema_version int,
       headers longtext NOT NULL,
       status varchar(16) ${ascii} NOT NULL,
       attempts int NOT NULL DEFAULT 0,
       claims int NOT NULL DEFAULT 0,
       next_attempt_at datetime(6) NOT NULL,
       available_at datetime(6) NOT NULL,
       expires_at datetime(6),
       claim_token varchar(64) ${ascii},
       claimed_by varchar(255),
       last_error text,
       created_at datetime(6) NOT NULL,
       sent_at datetime(6),
       consumed_at datetime(6),
       dead_at datetime(6),
       alarm_due_at datetime(6),
       finished_at datetime(6),
       PRIMARY KEY (id),
       UNIQUE KEY seq (seq),
       KEY due (status, transport, next_attempt_at, claims, expires_at),
       KEY key_order (status, key_hash, seq),
       KEY finished (status, alarm_due_at, finished_at)
     ) ${table}`,
    // Hash and result are room for later: to tell a re-used key, and to answer a duplicate as the first one was.
    `CREATE TABLE IF NOT EXISTS ${names.inbox} (
       consumer varbinary(255) NOT NULL,
       message_key varbinary(255) NOT NULL,
       processed_at datetime(6) NOT NULL,
       duplicates int unsigned NOT NULL DEFAULT 0,
       payload_hash varbinary(64),
       result longblob,
       PRIMARY KEY (consumer, message_key),
       KEY processed (processed_at)
     ) ${table}`,
    `CREATE TABLE IF NOT EXISTS ${names.key} (bucket smallint unsigned NOT NULL PRIMARY KEY) ${table}`,
    `INSERT INTO ${names.key} (bucket) VALUES ${buckets} ON DUPLICATE KEY UPDATE bucket = bucket`,
    `CREATE TABLE IF NOT EXISTS ${names.version} (
       version int NOT NULL PRIMARY KEY,
       compatible_from int NOT NULL
     ) ${table}`,
    `INSERT INTO ${names.version} (version, compatible_from) VALUES (1, 1) ON DUPLICATE KEY UPDATE version = version`,
  ];
}

export function mysqlSchemaDown(names: TableNames): string[] {
  return [names.version, names.key, names.inbox, names.message].map(
    (table) => `DROP TABLE IF EXISTS ${table}`,
  );
}
