import {
  type DataSource as DataSourceType,
  DataSource,
  type EntityManager,
  EntitySchema,
  type QueryRunner,
  type Repository,
} from 'typeorm';
import { systemClock } from '../../../lib/core/clock';
import { type StagedMessage } from '../../../lib/core/message';
import { type Statement, type StatementRunner } from '../../../lib/core/statement-runner';
import { type CommitListener, type WrittenBatch } from '../../../lib/core/transactions.port';
import {
  TypeOrmTransactions,
  type TypeOrmTransactionsParts,
} from '../../../lib/transaction/typeorm-transactions';
import { type TestDatabase, type TestDatabaseType, createTestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';

export interface Thing {
  id: string;
}

/** The application's own rows. */
export const ThingSchema = new EntitySchema<Thing>({
  name: 'Thing',
  tableName: 'thing',
  columns: { id: { type: 'varchar', length: 60, primary: true } },
});

/** A message with no more in it than its id. */
export function message(id: string): StagedMessage {
  return {
    id,
    type: 'probe',
    transport: 'default',
    destination: 'probe',
    key: null,
    keyHash: null,
    tenant: null,
    source: null,
    payload: Buffer.from('{}'),
    contentType: 'application/json',
    contentEncoding: null,
    schemaVersion: null,
    headers: {},
    delayMs: 0,
    expiresInMs: null,
  };
}

interface Batch {
  readonly ids: readonly string[];
}

/** Writes messages into a real table, in the caller's transaction, and remembers all that it is told. */
export class RecordingListener implements CommitListener {
  /** Values of the INSERT. */
  parameters: unknown[] = [];
  /** Whether it has a name. */
  named = false;
  /** Of its answer. */
  columns: readonly string[] | undefined = [];
  /** Follow the INSERT, in the same round trip. */
  more: Statement[] = [];
  readonly writes: { ids: readonly string[]; isolation: string | null }[] = [];
  readonly handedOver: string[] = [];
  readonly lostIds: string[] = [];
  readonly lostReasons: string[] = [];
  readonly escapes: { query: string; transaction: string }[] = [];
  /** Runs after the INSERT, just before COMMIT is sent. */
  afterWrite: ((statements: StatementRunner) => Promise<void>) | null = null;
  /** Runs when a batch is handed over. */
  onCommitted: (() => void) | null = null;

  async write(
    statements: StatementRunner,
    messages: readonly StagedMessage[],
    isolation: string | null,
  ): Promise<WrittenBatch> {
    const ids = messages.map(({ id }) => id);
    const sql = `INSERT INTO probe_outbox (id) VALUES ${ids.map((id) => `('${id}')`).join(', ')}`;
    // As the store does: in one round trip with COMMIT where that can be.
    if (statements.finish === undefined || this.afterWrite !== null) await statements.query(sql);
    else
      await statements.finish(
        [
          {
            sql,
            parameters: this.parameters,
            ...(this.columns && { columns: this.columns }),
            ...(this.named && { name: `probe ${sql}` }),
          },
          ...this.more,
        ],
        () => ({ sql: `SELECT 1 FROM probe_outbox WHERE id = '${ids[0]}'`, parameters: [] }),
      );
    this.writes.push({ ids, isolation });
    await this.afterWrite?.(statements);
    return { ids } satisfies Batch;
  }

  committed(batch: WrittenBatch): void {
    this.handedOver.push(...(batch as Batch).ids);
    this.onCommitted?.();
  }

  lost(messages: readonly StagedMessage[], reason: string): void {
    this.lostIds.push(...messages.map(({ id }) => id));
    this.lostReasons.push(reason);
  }

  escaped(query: string, transaction: string): void {
    this.escapes.push({ query, transaction });
  }
}

export interface BenchOptions {
  readonly poolSize?: number;
  readonly escapedWrites?: TypeOrmTransactionsParts['options']['escapedWrites'];
  readonly connectionWaitMs?: number;
  readonly foreignHosts?: () => readonly unknown[];
  readonly preparesStatements?: () => boolean;
}

/** A data source with one table of the application's, one of the outbox's, and the binding under test. */
export class Bench {
  private constructor(
    readonly database: TestDatabase,
    readonly dataSource: DataSourceType,
    /** Looks at the tables from outside. */
    readonly observer: DataSourceType,
    readonly listener: RecordingListener,
    readonly transactions: TypeOrmTransactions,
    readonly things: Repository<Thing>,
  ) {}

  static async start(type: TestDatabaseType, options: BenchOptions = {}): Promise<Bench> {
    const database = await createTestDatabase(type);
    const observer = await connect(database, 4);
    await observer.query('CREATE TABLE thing (id varchar(60) PRIMARY KEY)');
    await observer.query('CREATE TABLE probe_outbox (id varchar(60) PRIMARY KEY)');
    if (type === 'postgres') {
      await observer.query(
        `CREATE TABLE late_check (thing_id varchar(60) REFERENCES thing (id) DEFERRABLE INITIALLY DEFERRED)`,
      );
    }
    const dataSource = await connect(database, options.poolSize ?? 4);
    const listener = new RecordingListener();
    const transactions = new TypeOrmTransactions({
      dataSource,
      listener,
      options: {
        escapedWrites: options.escapedWrites ?? 'log',
        connectionWaitMs: options.connectionWaitMs ?? 5_000,
      },
      clock: systemClock,
      ...(options.foreignHosts ? { foreignHosts: options.foreignHosts } : {}),
      ...(options.preparesStatements ? { preparesStatements: options.preparesStatements } : {}),
    });
    transactions.install();
    const things = dataSource.getRepository(ThingSchema);
    return new Bench(database, dataSource, observer, listener, transactions, things);
  }

  get isMysql(): boolean {
    return this.database.type === 'mysql';
  }

  async stop(): Promise<void> {
    this.transactions.uninstall();
    await this.dataSource.destroy();
    await this.observer.destroy();
    await this.database.drop();
  }

  /** Empties the tables and the listener's memory. */
  async reset(): Promise<void> {
    if (!this.isMysql) await this.observer.query('DELETE FROM late_check');
    await this.observer.query('DELETE FROM thing');
    await this.observer.query('DELETE FROM probe_outbox');
    const { listener } = this;
    for (const list of [
      listener.writes,
      listener.handedOver,
      listener.lostIds,
      listener.lostReasons,
      listener.escapes,
    ]) {
      list.length = 0;
    }
    listener.afterWrite = null;
    listener.more = [];
    listener.parameters = [];
    listener.named = false;
    listener.columns = [];
    listener.onCommitted = null;
  }

  publish(id: string, handle?: EntityManager | QueryRunner): void {
    this.transactions.stage([message(id)], handle);
  }

  /** Ids in the application's table, as others see them. */
  async storedThings(): Promise<string[]> {
    return idsOf(await this.observer.query('SELECT id FROM thing ORDER BY id'));
  }

  /** Ids in the outbox's table, as others see them. */
  async storedMessages(): Promise<string[]> {
    return idsOf(await this.observer.query('SELECT id FROM probe_outbox ORDER BY id'));
  }

  /** A connection of the pool, as the driver has it, borrowed for as long as the work takes. */
  async onTheConnection<Client, T>(work: (client: Client, runner: QueryRunner) => Promise<T>): Promise<T> {
    const runner = this.dataSource.createQueryRunner();
    try {
      return await work((await runner.connect()) as Client, runner);
    } finally {
      await runner.release();
    }
  }

  /** The statements that the logger is given meanwhile, each with its parameters. */
  async logged(work: () => Promise<unknown>): Promise<unknown[]> {
    const log = jest.spyOn(this.dataSource.logger, 'logQuery');
    try {
      await work();
      return log.mock.calls.map(([query, parameters]) => [query, parameters]);
    } finally {
      log.mockRestore();
    }
  }

  /** The server's own id of the connection behind a runner. */
  async connectionId(statements: StatementRunner): Promise<number> {
    const [row] = await statements.query(
      this.isMysql ? 'SELECT CONNECTION_ID() AS id' : 'SELECT pg_backend_pid() AS id',
    );
    return Number(row.id);
  }

  /** Ends a connection from the server's side, and returns when it is gone. */
  async kill(connectionId: number): Promise<void> {
    await this.observer.query(
      this.isMysql ? `KILL ${connectionId}` : `SELECT pg_terminate_backend(${connectionId})`,
    );
    const alive = this.isMysql
      ? `SELECT 1 FROM information_schema.processlist WHERE id = ${connectionId}`
      : `SELECT 1 FROM pg_stat_activity WHERE pid = ${connectionId}`;
    await waitFor(async () => (await this.observer.query(alive)).length === 0, {
      what: 'the connection to be gone',
    });
  }

  /** Makes the statement fail that follows it in this transaction, as PostgreSQL does. Its error is swallowed. */
  async swallowFailedStatement(statements: StatementRunner): Promise<void> {
    if (this.isMysql) return this.swallowDeadlock(statements);
    await expect(statements.query('SELECT 1 / 0')).rejects.toThrow('division by zero');
  }

  /**
   * Brings the given connection into a deadlock with another and makes it the victim: the other one has changed more, so
   * InnoDB gives up this one. Its error is swallowed.
   */
  async swallowDeadlock(statements: StatementRunner): Promise<void> {
    await this.observer.query(`INSERT IGNORE INTO thing (id) VALUES ('lock-1'), ('lock-2')`);
    await statements.query(`UPDATE thing SET id = id WHERE id = 'lock-1'`);
    await statements.query(`SELECT id FROM thing WHERE id = 'lock-1' FOR UPDATE`);
    const rival = this.observer.createQueryRunner();
    try {
      await rival.startTransaction();
      await rival.query(`INSERT INTO probe_outbox (id) SELECT CONCAT('weight-', seq) FROM seq_1_to_200`);
      await rival.query(`SELECT id FROM thing WHERE id = 'lock-2' FOR UPDATE`);
      // Whichever comes second closes the circle; the lighter one gives way.
      const waiting = rival.query(`SELECT id FROM thing WHERE id = 'lock-1' FOR UPDATE`);
      await expect(
        statements.query(`SELECT id FROM thing WHERE id = 'lock-2' FOR UPDATE`),
      ).rejects.toMatchObject({ errno: 1213 });
      await waiting;
    } finally {
      await rival.rollbackTransaction();
      await rival.release();
      await this.observer.query(`DELETE FROM thing WHERE id IN ('lock-1', 'lock-2')`);
    }
  }
}

export async function connect(database: TestDatabase, poolSize: number): Promise<DataSourceType> {
  const dataSource = new DataSource({
    type: database.type,
    url: database.url,
    entities: [ThingSchema],
    poolSize,
  });
  return dataSource.initialize();
}

function idsOf(rows: { id: string }[]): string[] {
  return rows.map(({ id }) => id);
}

/** What a caller saw: the error's code or name, or that all went well. */
export async function outcomeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'resolves';
  } catch (error) {
    return (error as Error).name === 'Error' ? (error as Error).message : (error as Error).name;
  }
}
