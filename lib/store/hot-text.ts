import { createHash } from 'node:crypto';

import type { HotStatement } from '../core/statement-runner';

/** The text of a statement that is sent over and over, with the name under which a server may keep it planned. */
export type HotText = Pick<HotStatement, 'name' | 'sql'>;

/** Names a text by its digest: whatever process or version of this library made the name, it means this text. */
export function hot(sql: string): HotText {
  return { sql, name: `outbox_${createHash('sha256').update(sql).digest('hex').slice(0, 24)}` };
}
