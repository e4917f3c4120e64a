import {
  type PgAnswer,
  type PgClient,
  type PgConnection,
  type PgQuery,
  type PgStatement,
  type Submittable,
  valueMapperOf,
} from './client';
import { KnownQuery, isKnown } from './known-query';
import { type PgOutcome, queryOf } from './query-of';

/** The protocol's Sync: the end of a round trip. */
const SYNC = Uint8Array.of(0x53, 0, 0, 0, 4);

/**
 * What the protocol's Close begins with: `pg`'s own query makes one instead of all else when a value of it cannot be written.
 * Sent, the server would go on with the next statement, and that may be COMMIT.
 */
const CLOSE = 0x43;

/** For a query that tells its answer by itself; `pg`'s client answers those nothing, too. */
const NO_ANSWER = Promise.resolve(undefined as unknown as PgAnswer);

type Member = KnownQuery | PgQuery;

/**
 * Several statements in one round trip: written to the socket at once, with one Sync after the last, so that the server
 * answers once, and skips all that follows a failure. None of them may consist of several statements.
 *
 * `pg`'s own query objects make the protocol's messages and read the answers; this one takes turns among them, and keeps
 * their Syncs back but the last one's. Where it is known what an answer looks like, a lighter object does, see `KnownQuery`.
 */
export class QueryBatch implements Submittable {
  /** Set by the client where it limits a query's time. */
  callback: ((error: Error | null) => void) | undefined;
  private readonly queries: Member[] = [];
  private readonly settles: ((outcome: PgOutcome) => void)[] = [];
  /** The one whose answer is next. */
  private at = 0;

  constructor(private readonly client: PgClient) {}

  /** For the client, which keeps account of the prepared statements by the query that is answered. */
  get name(): string | undefined {
    return this.queries[this.at]?.name;
  }

  get text(): string | undefined {
    return this.queries[this.at]?.text;
  }

  /**
   * One of ours, whose answer is texts and numbers.
   * @param settle is called once; the statement fails when it does itself, or one before it
   */
  add(statement: PgStatement, settle: (outcome: PgOutcome) => void): void {
    this.settles.push(settle);
    if (isKnown(statement)) this.queries.push(new KnownQuery(statement, valueMapperOf(this.client), settle));
    else this.enter(queryOf(this.client, statement, settle));
  }

  /** One of the application's, whose answer is read by the client's type parsers. */
  addForeign(statement: PgStatement): Promise<PgAnswer> {
    return new Promise((resolve, reject) => {
      const query = queryOf(this.client, statement, toPromise(resolve, reject));
      // As the client does with the queries that it is given.
      query._result._types ??= this.client._types;
      this.enter(query);
    });
  }

  /** The last one: a text, or what was made for the client. @returns the answer to a text */
  append(last: string | PgQuery | QueryBatch): Promise<PgAnswer> {
    if (typeof last === 'string')
      return new Promise((resolve, reject) => this.add({ text: last }, toPromise(resolve, reject)));
    if (last instanceof QueryBatch) this.queries.push(...last.queries);
    else this.enter(last);
    return NO_ANSWER;
  }

  /** It is not going to be sent. */
  abandon(error: Error): void {
    for (const settle of this.settles) settle({ error, answer: null });
  }

  private enter(query: PgQuery): void {
    // The simple protocol has a Sync in each statement.
    query.queryMode = 'extended';
    this.queries.push(query);
  }

  submit(connection: PgConnection): Error | null {
    const { stream } = connection;
    const gathered: Uint8Array[] = [];
    let unwritable = false;
    const gatherer = {
      writable: stream.writable,
      write: (part: Uint8Array) => {
        const [kind] = part;
        unwritable ||= kind === CLOSE;
        if (kind !== SYNC[0]) gathered.push(part);
        return true;
      },
    };
    // Lent to it for this one turn. A copy of the connection, or an object that inherits from it, would be a stranger to all
    // code that was compiled for the connection: that cost more than the messages themselves.
    connection.stream = gatherer;
    try {
      for (const query of this.queries) {
        const refusal = query.submit(connection);
        if (refusal !== null && refusal !== undefined) return refusal;
      }
      // It has told its own error by itself.
      if (unwritable)
        return new Error('Not sent: a value of a statement in the same round trip cannot be written.');
    } catch (error) {
      // Nothing was sent, as when it is refused. The client hands it to `handleError`.
      return error as Error;
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
    this.queries[this.at]?.handleDataRow(message);
  }

  handleCommandComplete(message: { readonly text: string }, connection: PgConnection): void {
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

  /**
   * Those before the failed one are done; those after it were skipped, and fail for the same reason. Of their names the
   * client believes that they are on their way, and would send the next one without its text.
   */
  handleError(error: Error, connection: PgConnection): void {
    const { submittedNamedStatements } = connection;
    this.queries.forEach((query, index) => {
      if (index < this.at) {
        query.handleReadyForQuery(connection);
        return;
      }
      if (query.name !== undefined) delete submittedNamedStatements?.[query.name];
      query.handleError(error, connection);
    });
    this.callback?.(error);
  }

  handleReadyForQuery(connection: PgConnection): void {
    for (const query of this.queries) query.handleReadyForQuery(connection);
    this.callback?.(null);
  }
}

function toPromise(resolve: (answer: PgAnswer) => void, reject: (error: Error) => void) {
  return ({ error, answer }: PgOutcome): void => {
    if (error === null) resolve(answer);
    else reject(error);
  };
}
