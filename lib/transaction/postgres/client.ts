import { type QueryRunner } from 'typeorm';

/** `pg`'s client, as far as statements are sent over it past TypeORM. */
export interface PgClient {
  query(
    config: string | PgStatement | Submittable,
    values?: unknown[],
    callback?: unknown,
  ): Promise<PgAnswer>;
  /** The application's type parsers. */
  readonly _types: unknown;
  readonly processID: number;
  readonly constructor: { readonly Query: PgQueryType };
}

export interface PgStatement {
  readonly text: string;
  readonly values?: unknown[] | undefined;
  /** The server keeps it planned under this name. */
  readonly name?: string | undefined;
  /** Of its answer, where all are texts: then the server is not asked to describe it. */
  readonly columns?: readonly string[] | undefined;
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
  readonly _result: { _types?: unknown; readonly rows: unknown[] };
  requiresPreparation?(): boolean;
}

export type PgQueryType = new (
  text: string,
  values: unknown[] | undefined,
  callback: (error: Error | null, answer?: PgAnswer) => void,
) => PgQuery;

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
  /** What it writes its messages to, one at a time. */
  stream: { readonly writable: boolean; write(bytes: Uint8Array): unknown };
}

/** The client of a connected runner; null where it is another driver than `pg`'s own JavaScript one. */
export function pgClientOf(runner: QueryRunner): PgClient | null {
  const { databaseConnection: client } = runner as unknown as { databaseConnection?: PgClient | null };
  const isClient =
    typeof client?.query === 'function' &&
    typeof client._types === 'object' &&
    typeof client.processID === 'number' &&
    typeof client.constructor.Query === 'function' &&
    speaksExtended(client.constructor.Query);
  return isClient ? client : null;
}

const extended = new WeakMap<PgQueryType, boolean>();

/**
 * Whether a query without values can be made to use the extended protocol, which batches need. Before pg 8.12 it cannot, and
 * would end a batch in its middle. And whether it keeps its type parsers where the client would put them.
 */
function speaksExtended(Query: PgQueryType): boolean {
  let speaks = extended.get(Query);
  if (speaks === undefined) {
    const probe = new Query('COMMIT', undefined, () => undefined);
    probe.queryMode = 'extended';
    speaks = (probe.requiresPreparation?.() ?? false) && typeof (probe._result as unknown) === 'object';
    extended.set(Query, speaks);
  }
  return speaks;
}
