/** The bit of the status in an answer that says: a transaction is open on this connection. */
export const IN_TRANSACTION = 1;

/** The cheapest statement whose answer has that status. */
export const ASK_STATUS = 'DO 0';

/** What is said of a statement that needs an open transaction, and has none. */
export const NO_TRANSACTION = '25000';

/** Whether an answer says that no transaction is open; false where it says nothing of it. */
export function saysNoTransaction(answer: unknown): boolean {
  const status = (answer as { serverStatus?: unknown } | null | undefined)?.serverStatus;
  return typeof status === 'number' && (status & IN_TRANSACTION) === 0;
}
