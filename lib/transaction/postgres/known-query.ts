import { BEGIN, COMMIT } from '../direct/direct-transaction';
import { type PgConnection, type PgStatement, type Submittable, type ValueMapper } from './client';
import { type PgOutcome } from './query-of';

/** These are the same bytes each time: made once, for all connections. */
const sameEachTime = new Map<string, Uint8Array | null>([
  [BEGIN, null],
  [COMMIT, null],
]);

export interface KnownStatement extends PgStatement {
  readonly columns: readonly string[];
}

export function isKnown(statement: PgStatement): statement is KnownStatement {
  return statement.columns !== undefined;
}

/**
 * A statement of ours whose answer is known beforehand: the server is not asked to describe it, and its rows are made here.
 * A member of a `QueryBatch`.
 *
 * Instead of `pg`'s own object of a query, which is made for all that anybody may ask: an event emitter, a result with
 * parsers for its columns, and for a BEGIN as many messages as for an INSERT. The three
 * of a transaction with a message, four with a key, were a twentieth of what it costs Node.js, and more.
 */
export class KnownQuery implements Submittable {
  private readonly rows: Record<string, string | null>[] = [];
  private command = '';
  private rowCount: number | null = null;

  constructor(
    private readonly statement: KnownStatement,
    /** How `pg` writes a value. */
    private readonly valueMapper: ValueMapper,
    /** Called when it is through. */
    private readonly settle: (outcome: PgOutcome) => void,
  ) {}

  get text(): string {
    return this.statement.text;
  }

  get name(): string | undefined {
    return this.statement.name;
  }

  /** @throws Error when a value cannot be written */
  submit(connection: PgConnection): null {
    const { text, name, values } = this.statement;
    const known = sameEachTime.get(text);
    if (known === undefined) this.write(connection, text, name, values);
    else connection.stream.write(known ?? this.remembered(connection));
    return null;
  }

  handleDataRow({ fields }: { readonly fields: readonly (string | null)[] }): void {
    const { columns } = this.statement;
    const row: Record<string, string | null> = {};
    columns.forEach((column, index) => {
      row[column] = fields[index] ?? null;
    });
    this.rows.push(row);
  }

  /** The tag is a word or two, and for most statements the number of rows behind it. */
  handleCommandComplete({ text }: { readonly text: string }): void {
    const end = text.indexOf(' ');
    this.command = end < 0 ? text : text.slice(0, end);
    const count = end < 0 ? Number.NaN : Number(text.slice(text.lastIndexOf(' ') + 1));
    this.rowCount = Number.isNaN(count) ? null : count;
  }

  handleReadyForQuery(): void {
    const { rows, command, rowCount } = this;
    this.settle({ error: null, answer: { command, rowCount, oid: null, rows, fields: [] } });
  }

  handleError(error: Error): void {
    this.settle({ error, answer: null });
  }

  handleRowDescription(): void {
    // Not asked for.
  }

  handleEmptyQuery(): void {
    // None of ours is empty.
  }

  handlePortalSuspended(): void {
    // All rows are asked for.
  }

  handleCopyInResponse(): void {
    // None of ours copies.
  }

  handleCopyData(): void {
    // The same.
  }

  private write(
    connection: PgConnection,
    text: string,
    name: string | undefined,
    values: unknown[] | undefined,
  ): void {
    const { parsedStatements, submittedNamedStatements } = connection;
    const isThere =
      name !== undefined &&
      (parsedStatements[name] !== undefined || submittedNamedStatements?.[name] !== undefined);
    if (!isThere) {
      connection.parse({ text, name });
      // Where the client takes it out again, when the server has it.
      if (name !== undefined && submittedNamedStatements !== undefined) submittedNamedStatements[name] = text;
    }
    connection.bind({ statement: name, values, valueMapper: this.valueMapper });
    connection.execute({});
  }

  private remembered(connection: PgConnection): Uint8Array {
    const { text } = this.statement;
    const parts: Uint8Array[] = [];
    const { stream } = connection;
    connection.stream = { writable: true, write: (part: Uint8Array) => parts.push(part) };
    try {
      this.write(connection, text, undefined, undefined);
    } finally {
      connection.stream = stream;
    }
    const bytes = Buffer.concat(parts);
    sameEachTime.set(text, bytes);
    return bytes;
  }
}
