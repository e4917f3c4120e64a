import { hash } from 'node:crypto';

/**
 * The digest by which a key is locked and indexed: 64 bits of SHA-256 over transport, order scope and key, as a signed
 * integer (PostgreSQL's bigint, and its advisory locks). Two keys that share a digest wait for each other without need,
 * which is harmless; the key itself stands in the row.
 */
export function hashKey(transport: string, orderScope: string, key: string): bigint {
  // JSON keeps the three apart: no key can imitate another transport's or another scope's.
  return hash('sha256', JSON.stringify([transport, orderScope, key]), 'buffer').readBigInt64BE(0);
}
