import { QueryFailedError } from 'typeorm';

/** Whether a row was refused because there is one with the same key: in PostgreSQL's words, or in MySQL's. */
export function isUniqueViolation(error: unknown): boolean {
  const { code } = error instanceof QueryFailedError ? (error.driverError as { code?: string }) : {};
  return code === '23505' || code === 'ER_DUP_ENTRY';
}
