import {
  type PgAnswer,
  type PgCallback,
  type PgClient,
  type PgConnection,
  type PgQuery,
  type PgQueryType,
  type PgStatement,
  type Submittable,
} from './client';

/**
 * Several statements in one round trip: written to the socket at once, with one Sync after the last, so that the server
 * answers once, and skips all that follows a failure. None of them may consist of several statements.
 *
 * `pg`'s own query objects make the protocol's messages and read the answers; this one takes turns among them, and keeps
 * their Syncs back but the last one's.
 */
export class QueryBatch implements Submittable {
  /** Set by the client where it limits a query's time. */
  callback: ((error: Error | null) => void) | undefined;
  private readonly queries: PgQuery[] = [];
  private readonly rejects: ((error: Error) => void)[] = [];
  /** The one whose answer is next. */
  private at = 0;

  constructor(private readonly client: PgClient) {}

  /** For the client, which keeps account of the prepared statements by the query that is answered. */
  get name(): string | undefined {
    return this.queries[this.at]?.name;
  }

  get text(): string | undefined {
    return (this.queries[this.at] as { text?: string } | undefined)?.text;
  }

  /**
   * One of ours, whose answer is texts and numbers.
   * @returns the answer; it rejects when this statement fails, or one before it
   */
  add({ text, values, name }: PgStatement): Promise<PgAnswer> {
    return this.enqueue((Query, callback) => {
      // By its text, and the rest afterwards: pg copies an object property by property, at some cost.
      const query = new Query(text, values, callback);
      query.name = name;
      query.queryMode = 'extended';
      return query;
    });
  }

  /** One of the application's, whose answer is read by the client's type parsers. */
  addForeign(statement: PgStatement): Promise<PgAnswer> {
    const { client } = this;
    const types = { getTypeParser: (oid: number, format?: string) => client.getTypeParser(oid, format) };
    return this.enqueue((Query, callback) => new Query({ ...statement, types }, undefined, callback));
  }

  private enqueue(make: (Query: PgQueryType, callback: PgCallback) => PgQuery): Promise<PgAnswer> {
    return new Promise((resolve, reject) => {
      this.rejects.push(reject);
      this.queries.push(
        make(this.client.constructor.Query, (error, answer) => {
          if (error === null || error === undefined) resolve(answer!);
          else reject(error);
        }),
      );
    });
  }

  /** It is not going to be sent. */
  abandon(error: Error): void {
    for (const reject of this.rejects) reject(error);
  }

  submit(connection: PgConnection): Error | null {
    const { stream } = connection;
    const gathered: Uint8Array[] = [];
    const gathering = Object.create(connection, {
      stream: { value: { writable: stream.writable, write: (part: Uint8Array) => gathered.push(part) > 0 } },
    }) as PgConnection;
    const unsynced = Object.create(gathering, { sync: { value: () => undefined } }) as PgConnection;
    const last = this.queries.length - 1;
    this.queries.forEach((query, index) => query.submit(index === last ? gathering : unsynced));
    // One write, and of one buffer: handing over many costs more than the copy of so few bytes.
    if (stream.writable) stream.write(Buffer.concat(gathered));
    return null;
  }

  handleRowDescription(message: unknown): void {
    this.queries[this.at]?.handleRowDescription(message);
  }

  handleDataRow(message: unknown): void {
    this.queries[this.at]?.handleDataRow(message);
  }

  handleCommandComplete(message: unknown, connection: PgConnection): void {
    this.queries[this.at]?.handleCommandComplete(message, connection);
    this.at += 1;
  }

  handleEmptyQuery(connection: PgConnection): void {
    this.queries[this.at]?.handleEmptyQuery(connection);
    this.at += 1;
  }

  handlePortalSuspended(connection: PgConnection): void {
    this.queries[this.at]?.handlePortalSuspended(connection);
  }

  handleCopyInResponse(connection: PgConnection): void {
    this.queries[this.at]?.handleCopyInResponse(connection);
  }

  handleCopyData(message: unknown, connection: PgConnection): void {
    this.queries[this.at]?.handleCopyData(message, connection);
  }

  /** Those before the failed one are done; those after it were skipped, and fail for the same reason. */
  handleError(error: Error, connection: PgConnection): void {
    this.queries.forEach((query, index) => {
      if (index < this.at) query.handleReadyForQuery(connection);
      else query.handleError(error, connection);
    });
    this.callback?.(error);
  }

  handleReadyForQuery(connection: PgConnection): void {
    for (const query of this.queries) query.handleReadyForQuery(connection);
    this.callback?.(null);
  }
}
