import { createHash } from 'node:crypto';

import type { HotStatement } from '../core/statement-runner';

/** A hot statement without its parameters. */
export type Hot = (parameters: unknown[]) => HotStatement;

/**
 * Makes a hot statement of its text, once, so that its name is not computed for each use. The name is the text's digest:
 * whatever process or version of this library made it, it means this text.
 * @param columns of its answer; see Statement
 */
export function hotStatement(sql: string, columns?: readonly string[]): Hot {
  const name = `outbox_${createHash('sha256').update(sql).digest('hex').slice(0, 24)}`;
  return (parameters) => ({ name, sql, parameters, columns });
}
