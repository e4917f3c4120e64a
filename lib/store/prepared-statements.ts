import type { HotStatement } from '../core/statement-runner';

/** What is needed of a client of `pg`. */
export interface PgClient {
  /** The process that serves this connection, as the server said when it was opened. */
  readonly processID?: unknown;
  query(statement: { name?: string; text: string; values?: unknown[] }): Promise<PgResult>;
}

interface PgResult {
  readonly command: string;
  readonly rowCount: number | null;
  readonly rows: unknown[];
}

/** Whether statements are given names: `auto` finds out whether the server would keep them. */
export type PreparedStatements = boolean | 'auto';

/**
 * What says that a name cannot be used, before anything was done: it is not there (somebody discarded it), or there and
 * somebody else's (both of a pooler that was not recognized), or planned for columns that have changed since.
 */
const UNUSABLE_NAME: ReadonlySet<unknown> = new Set(['26000', '42P05', '0A000']);

/**
 * Whether this connection is one to the server itself. A pooler in transaction mode gives each transaction another server
 * process, which knows nothing of the names of the one before; and it tells its clients a process of its own making.
 */
export async function reachesServerItself(client: PgClient): Promise<boolean> {
  const { rows } = await client.query({ text: 'SELECT pg_backend_pid()::text AS pid' });
  return (rows as { pid: string }[])[0]?.pid === String(client.processID);
}

/** Hot statements on clients of `pg`, with names that the server keeps, answered as TypeORM answers `query`. */
export class PreparedStatementClients {
  private readonly unnamed = new WeakSet<PgClient>();

  constructor(private readonly named: boolean) {}

  /** Outside of a transaction only: a name that is lost is told by an error, and an error would end the transaction. */
  async execute(client: PgClient, statement: HotStatement): Promise<unknown> {
    const { name, sql: text, parameters: values } = statement;
    if (this.named && !this.unnamed.has(client)) {
      try {
        return answerOf(await client.query({ name, text, values }));
      } catch (error) {
        if (!UNUSABLE_NAME.has((error as { code?: unknown }).code)) throw error;
        // The client believes that the server has the names that it was given, so none of them is of use on it any more.
        this.unnamed.add(client);
      }
    }
    return answerOf(await client.query({ text, values }));
  }
}

function answerOf({ command, rows, rowCount }: PgResult): unknown {
  return command === 'UPDATE' || command === 'DELETE' ? [rows, rowCount] : rows;
}
