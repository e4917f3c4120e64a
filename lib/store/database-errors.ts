/** What the drivers of both servers put on their errors. TypeORM wraps them in `driverError`. */
interface DriverError {
  readonly code?: unknown;
  readonly errno?: unknown;
  readonly message?: unknown;
  readonly detail?: unknown;
}

/** Roll back, and try the same again at once. 1020: "record has changed since last read" (MariaDB's snapshot isolation). */
const TRANSIENT: ReadonlySet<unknown> = new Set([1213, 1205, 1020, '40001', '40P01']);
const LOCK_TIMEOUT: ReadonlySet<unknown> = new Set([1205, '55P03']);
const DUPLICATE: ReadonlySet<unknown> = new Set([1062, '23505']);
const MISSING_TABLE: ReadonlySet<unknown> = new Set([1146, 1049, '42P01', '3F000']);

const UUID_IN_TEXT = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

/** A deadlock, a lock wait that was too long, a serialization failure. */
export function isTransientError(error: unknown): boolean {
  return matches(error, TRANSIENT);
}

/** The wait for a lock was over. */
export function isLockTimeoutError(error: unknown): boolean {
  return matches(error, LOCK_TIMEOUT);
}

export function isMissingTableError(error: unknown): boolean {
  return matches(error, MISSING_TABLE);
}

/** The message id that was there already, '' where the error does not tell; null: it is another error. */
export function duplicateIdOf(error: unknown): string | null {
  if (!matches(error, DUPLICATE)) return null;
  const { detail, message } = driverErrorOf(error);
  return UUID_IN_TEXT.exec([detail, message].filter((text) => typeof text === 'string').join(' '))?.[0] ?? '';
}

/** Tries again what the server undid as a whole: one statement by itself, or a short transaction of the store's own. */
export async function retryTransient<T>(work: () => Promise<T>, triesMax = 5): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (tries >= triesMax || !isTransientError(error)) throw error;
    }
  }
}

function matches(error: unknown, codes: ReadonlySet<unknown>): boolean {
  const { errno, code } = driverErrorOf(error);
  return codes.has(errno) || codes.has(code);
}

function driverErrorOf(error: unknown): DriverError {
  if (typeof error !== 'object' || error === null) return {};
  return (error as { driverError?: DriverError }).driverError ?? error;
}
