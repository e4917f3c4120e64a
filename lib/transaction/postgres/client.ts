import { type QueryRunner } from 'typeorm';

/** `pg`'s client, as far as statements are sent over it past TypeORM. */
export interface PgClient {
  query(
    config: string | PgStatement | Submittable,
    values?: unknown[],
    callback?: unknown,
  ): Promise<PgAnswer>;
  getTypeParser(oid: number, format?: string): unknown;
  readonly processID: number;
  readonly constructor: { readonly Query: PgQueryType };
}

export interface PgStatement {
  readonly text: string;
  readonly values?: unknown[] | undefined;
  /** The server keeps it planned under this name. */
  readonly name?: string | undefined;
}

export interface PgAnswer {
  readonly rows: unknown[];
  readonly rowCount: number | null;
  /** What was really done: to COMMIT, `ROLLBACK` may be the answer. */
  readonly command: string;
}

/** `pg`'s own object of one query, which speaks the protocol and makes the answer. */
export interface PgQuery extends Submittable {
  name?: string | undefined;
  queryMode?: 'extended';
  requiresPreparation?(): boolean;
}

export type PgQueryType = new (
  statement: string | (PgStatement & { readonly types: Pick<PgClient, 'getTypeParser'> }),
  values: unknown[] | undefined,
  callback: PgCallback,
) => PgQuery;

export type PgCallback = (error: Error | null, answer?: PgAnswer) => void;

/** What `client.query()` takes besides texts, as `pg-cursor` and `pg-query-stream` are: told of the server's messages. */
export interface Submittable {
  submit(connection: PgConnection): Error | null | undefined;
  handleRowDescription(message: unknown): void;
  handleDataRow(message: unknown): void;
  handleCommandComplete(message: unknown, connection: PgConnection): void;
  handleEmptyQuery(connection: PgConnection): void;
  handlePortalSuspended(connection: PgConnection): void;
  handleCopyInResponse(connection: PgConnection): void;
  handleCopyData(message: unknown, connection: PgConnection): void;
  handleError(error: Error, connection: PgConnection): void;
  handleReadyForQuery(connection: PgConnection): void;
}

export interface PgConnection {
  readonly stream: { readonly writable: boolean; write(bytes: Uint8Array): unknown };
  sync(): void;
}

/** The client of a connected runner; null where it is another driver than `pg`'s own JavaScript one. */
export function pgClientOf(runner: QueryRunner): PgClient | null {
  const { databaseConnection: client } = runner as unknown as { databaseConnection?: PgClient | null };
  const isClient =
    typeof client?.query === 'function' &&
    typeof client.getTypeParser === 'function' &&
    typeof client.processID === 'number' &&
    typeof client.constructor.Query === 'function' &&
    speaksExtended(client.constructor.Query);
  return isClient ? client : null;
}

const extended = new WeakMap<PgQueryType, boolean>();

/**
 * Whether a query without values can be made to use the extended protocol, which batches need. Before pg 8.12 it cannot, and
 * would end a batch in its middle.
 */
function speaksExtended(Query: PgQueryType): boolean {
  let speaks = extended.get(Query);
  if (speaks === undefined) {
    const probe = new Query('COMMIT', undefined, () => undefined);
    probe.queryMode = 'extended';
    speaks = probe.requiresPreparation?.() ?? false;
    extended.set(Query, speaks);
  }
  return speaks;
}
