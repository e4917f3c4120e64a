/** What a statement does to the transaction around it. */
export type Boundary =
  | { readonly kind: 'begin' | 'commit' | 'rollback' }
  | { readonly kind: 'savepoint' | 'release' | 'rollbackTo'; readonly name: string };

const BOUNDARY = /^\s*(?:BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|PREPARE)\b/i;
const SAVEPOINT =
  /^\s*(?:(SAVEPOINT)|(RELEASE)(?:\s+SAVEPOINT)?|ROLLBACK(?:\s+(?:WORK|TRANSACTION))?\s+TO(?:\s+SAVEPOINT)?)\s+["`]?([^"`;\s]+)["`]?\s*;?\s*$/i;
const BEGIN = /^\s*(?:BEGIN\b(?!\s+NOT\s+ATOMIC)|START\s+TRANSACTION\b)/i;
const COMMIT = /^\s*(?:COMMIT|END|PREPARE\s+TRANSACTION)\b/i;
const ROLLBACK = /^\s*(?:ROLLBACK|ABORT)\b/i;

/**
 * Reads transaction statements, TypeORM's own and hand-written ones; null for all others. Looks at the statement's first
 * word, so it costs next to nothing on the others.
 */
export function boundaryOf(sql: string): Boundary | null {
  if (!BOUNDARY.test(sql)) return null;
  const savepoint = SAVEPOINT.exec(sql);
  if (savepoint) {
    const [, opens, releases, name = ''] = savepoint;
    return { kind: opens ? 'savepoint' : releases ? 'release' : 'rollbackTo', name };
  }
  if (BEGIN.test(sql)) return { kind: 'begin' };
  if (COMMIT.test(sql)) return { kind: 'commit' };
  return ROLLBACK.test(sql) ? { kind: 'rollback' } : null;
}

const ISOLATION =
  /^\s*SET\s+TRANSACTION\s+ISOLATION\s+LEVEL\s+(READ\s+UNCOMMITTED|READ\s+COMMITTED|REPEATABLE\s+READ|SERIALIZABLE)/i;

/** The level that a statement sets for one transaction, as in SQL and in upper case; null when it sets none. */
export function isolationSetBy(sql: string): string | null {
  const level = ISOLATION.exec(sql)?.[1];
  return level === undefined ? null : level.toUpperCase().replace(/\s+/g, ' ');
}

const NOISE = /^(?:\s+|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/|\()+/;
const WRITE = /^(?:INSERT|UPDATE|DELETE|MERGE|REPLACE|TRUNCATE)\b/i;
const LITERALS = /'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*"|`[^`]*`|--[^\n]*|\/\*[\s\S]*?\*\//g;
const WRITE_WITHIN = /\b(?:INSERT\s+INTO|DELETE\s+FROM|MERGE\s+INTO|UPDATE\b[^;]*?\bSET\b)/i;

/** Whether a statement changes rows: by its first word, or, for `WITH`, by what stands in it. */
export function isWrite(sql: string): boolean {
  const text = NOISE.test(sql) ? sql.replace(NOISE, '') : sql;
  if (WRITE.test(text)) return true;
  return /^WITH\b/i.test(text) && WRITE_WITHIN.test(text.replace(LITERALS, '?'));
}

const COMMITS_BEFORE_IT_RUNS =
  /^(?:ALTER|CREATE(?!\s+(?:OR\s+REPLACE\s+)?TEMPORARY)|DROP(?!\s+TEMPORARY|\s+PREPARE)|RENAME|TRUNCATE|LOCK\s+TABLES?)\b/i;

/** Whether MySQL commits the open transaction before it runs this. `repository.clear()` is one: TRUNCATE. */
export function commitsImplicitly(sql: string): boolean {
  return COMMITS_BEFORE_IT_RUNS.test(NOISE.test(sql) ? sql.replace(NOISE, '') : sql);
}

/** A statement for a log: one line, cut. Parameters are never in it. */
export function briefly(sql: string): string {
  const line = sql.replace(/\s+/g, ' ').trim();
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}
