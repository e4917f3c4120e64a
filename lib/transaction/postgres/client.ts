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

/** As `pg` gives it to whoever asks. */
export interface PgAnswer {
  readonly rows: unknown[];
  readonly rowCount: number | null;
  /** What was really done: to COMMIT, `ROLLBACK` may be the answer. */
  readonly command: string;
  readonly oid?: number | null;
  readonly fields?: readonly unknown[];
}

/** `pg`'s own object of one query, which speaks the protocol and makes the answer. */
export interface PgQuery extends Submittable {
  name?: string | undefined;
  queryMode?: 'extended';
  readonly text?: string;
  readonly _result: { _types?: unknown };
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

/** Makes the protocol's messages. */
export interface PgConnection {
  /** What it writes its messages to, one at a time. */
  stream: { readonly writable: boolean; write(bytes: Uint8Array): unknown };
  /** The texts of the statements that the server has under a name, */
  readonly parsedStatements: Record<string, string | undefined>;
  /** and of those that are on their way to it; not in older versions. */
  readonly submittedNamedStatements?: Record<string, string | undefined>;
  parse(statement: { readonly text: string; readonly name: string | undefined }): void;
  bind(binding: {
    readonly statement: string | undefined;
    readonly values: unknown[] | undefined;
    readonly valueMapper: ValueMapper;
  }): void;
  execute(portal: object): void;
}

/** What `pg` makes of a value before it is written. */
export type ValueMapper = (value: unknown) => unknown;

/** The client of a connected runner; null where it is another driver than `pg`'s own JavaScript one. */
export function pgClientOf(runner: QueryRunner): PgClient | null {
  const { databaseConnection: client } = runner as unknown as { databaseConnection?: PgClient | null };
  const isClient =
    typeof client?.query === 'function' &&
    typeof client._types === 'object' &&
    typeof client.processID === 'number' &&
    typeof client.constructor.Query === 'function' &&
    mapperOf(client.constructor.Query) !== null;
  return isClient ? client : null;
}

/** How a client that `pgClientOf` gave writes a value, which it tells its connection with each. */
export function valueMapperOf(client: PgClient): ValueMapper {
  return mapperOf(client.constructor.Query)!;
}

/** null: it speaks otherwise than batches need. */
const mappers = new WeakMap<PgQueryType, ValueMapper | null>();

function mapperOf(Query: PgQueryType): ValueMapper | null {
  let mapper = mappers.get(Query);
  if (mapper === undefined) {
    mapper = probe(Query);
    mappers.set(Query, mapper);
  }
  return mapper;
}

/**
 * Whether a query without values can be made to use the extended protocol, which batches need. Before pg 8.12 it cannot, and
 * would end a batch in its middle. Whether it keeps its type parsers where the client would put them, and has its
 * connection make messages as we do.
 */
function probe(Query: PgQueryType): ValueMapper | null {
  const query = new Query('COMMIT', undefined, () => undefined);
  query.queryMode = 'extended';
  if (query.requiresPreparation?.() !== true || typeof (query._result as unknown) !== 'object') return null;
  let mapper: ValueMapper | null = null;
  let executed = false;
  const nothing = (): void => undefined;
  const connection: PgConnection & Record<'describe' | 'sync', () => void> = {
    stream: { writable: true, write: nothing },
    parsedStatements: {},
    submittedNamedStatements: {},
    parse: nothing,
    bind: ({ valueMapper }) => (mapper = valueMapper),
    execute: () => (executed = true),
    describe: nothing,
    sync: nothing,
  };
  query.submit(connection);
  return executed ? mapper : null;
}
