import {
  type PgAnswer,
  type PgClient,
  type PgConnection,
  type PgQuery,
  type PgStatement,
  type Submittable,
} from './client';
import { type PgOutcome, queryOf } from './query-of';

/** The protocol's Sync: the end of a round trip. */
const SYNC = Uint8Array.of(0x53, 0, 0, 0, 4);

/** For a query that tells its answer by itself; `pg`'s client answers those nothing, too. */
const NO_ANSWER = Promise.resolve(undefined as unknown as PgAnswer);

/** What the protocol's Describe begins with; no other message that a client sends begins like it, nor like a Sync. */
const DESCRIBE = 0x44;

/**
 * Several statements in one round trip: written to the socket at once, with one Sync after the last, so that the server
 * answers once, and skips all that follows a failure. None of them may consist of several statements.
 *
 * `pg`'s own query objects make the protocol's messages and read the answers; this one takes turns among them, and keeps
 * their Syncs back but the last one's. Where it is known what an answer looks like, it keeps the question for that back, too,
 * and reads the rows itself: to read the description costs `pg` more than the row.
 */
export class QueryBatch implements Submittable {
  /** Set by the client where it limits a query's time. */
  callback: ((error: Error | null) => void) | undefined;
  private readonly queries: PgQuery[] = [];
  /** Of each query; undefined: the server describes them. */
  private readonly columns: (readonly string[] | undefined)[] = [];
  private readonly settles: ((outcome: PgOutcome) => void)[] = [];
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
   * @param settle is called once; the statement fails when it does itself, or one before it
   */
  add(statement: PgStatement, settle: (outcome: PgOutcome) => void): void {
    this.settles.push(settle);
    this.enter(queryOf(this.client, statement, settle), statement.columns);
  }

  /** One of the application's, whose answer is read by the client's type parsers. */
  addForeign(statement: PgStatement): Promise<PgAnswer> {
    const answer = this.answered(statement);
    // As the client does with the queries that it is given.
    this.queries.at(-1)!._result._types ??= this.client._types;
    return answer;
  }

  /** The last one: a text, or a query that was made for the client. @returns the answer to a text */
  append(query: string | PgQuery): Promise<PgAnswer> {
    if (typeof query === 'string') return this.answered({ text: query });
    this.enter(query, undefined);
    return NO_ANSWER;
  }

  /** It is not going to be sent. */
  abandon(error: Error): void {
    for (const settle of this.settles) settle({ error, answer: null });
  }

  private enter(query: PgQuery, columns: readonly string[] | undefined): void {
    // The simple protocol has a Sync in each statement.
    query.queryMode = 'extended';
    this.queries.push(query);
    this.columns.push(columns);
  }

  private answered(statement: PgStatement): Promise<PgAnswer> {
    return new Promise((resolve, reject) => {
      this.add(statement, ({ error, answer }) => {
        if (error === null) resolve(answer);
        else reject(error);
      });
    });
  }

  submit(connection: PgConnection): Error | null {
    const { stream } = connection;
    const gathered: Uint8Array[] = [];
    let described = true;
    const gatherer = {
      writable: stream.writable,
      write: (part: Uint8Array) => {
        const kind = part[0];
        if (kind !== SYNC[0] && (described || kind !== DESCRIBE)) gathered.push(part);
        return true;
      },
    };
    // Lent to it for this one turn. A copy of the connection, or an object that inherits from it, would be a stranger to all
    // code that was compiled for the connection: that cost more than the messages themselves.
    connection.stream = gatherer;
    try {
      this.queries.forEach((query, index) => {
        described = this.columns[index] === undefined;
        query.submit(connection);
      });
    } finally {
      connection.stream = stream;
    }
    gathered.push(SYNC);
    // One write, and of one buffer: handing over many costs more than the copy of so few bytes.
    if (stream.writable) stream.write(Buffer.concat(gathered));
    return null;
  }

  handleRowDescription(message: unknown): void {
    this.queries[this.at]?.handleRowDescription(message);
  }

  handleDataRow(message: { readonly fields: readonly (string | null)[] }): void {
    const query = this.queries[this.at];
    const columns = this.columns[this.at];
    if (columns === undefined) query?.handleDataRow(message);
    else query?._result.rows.push(rowOf(columns, message.fields));
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

function rowOf(
  columns: readonly string[],
  fields: readonly (string | null)[],
): Record<string, string | null> {
  const row: Record<string, string | null> = {};
  columns.forEach((column, index) => {
    row[column] = fields[index] ?? null;
  });
  return row;
}
