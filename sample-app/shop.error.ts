/** Something that whoever starts the shop can put right: its message says how, in one line. */
export class ShopError extends Error {}

/** One line for a person, whatever went wrong at the start. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof ShopError) return error.message;
  const { code, address, port } = firstCause(error) as NodeJS.ErrnoException & {
    address?: string;
    port?: number;
  };
  const where = address && port ? ` at ${address}:${port}` : '';
  switch (code) {
    case 'EADDRINUSE':
      return `port ${port} is in use; set PORT to another one`;
    case 'EACCES':
      return `${error.message}; set PORT, or SHOP_DATA_DIR, to one that you may use`;
    case 'ECONNREFUSED':
    case 'EHOSTUNREACH':
    case 'ETIMEDOUT':
      return `no database answers${where} (${code}); start it, or unset DATABASE_URL to use the embedded one`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the database's host in DATABASE_URL is unknown (${code})`;
    default:
      return (error.message || code || error.name).replace(/\s+/g, ' ');
  }
}

/** Node reports one failure for each address of a host, wrapped in one that says nothing. */
function firstCause(error: Error): Error {
  return error instanceof AggregateError && error.errors[0] instanceof Error ? error.errors[0] : error;
}
