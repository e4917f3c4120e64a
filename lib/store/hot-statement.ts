import { createHash } from 'node:crypto';

import type { HotStatement } from '../core/statement-runner';

/** Makes a hot statement of its text, once, so that its name is not computed for each use. */
export function hotStatement(sql: string): (parameters: unknown[]) => HotStatement {
  const name = `outbox_${createHash('sha256').update(sql).digest('hex').slice(0, 24)}`;
  return (parameters) => ({ name, sql, parameters });
}
