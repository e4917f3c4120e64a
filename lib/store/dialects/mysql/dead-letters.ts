import type { DeadLetterFilter } from '../../../core/dead-letter-store.port';
import type { StatementRunner } from '../../../core/statement-runner';
import type { WaitedForRow } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import type { DeadLetterDialect, MovedRow } from '../dialect.port';
import { inChunks, integer, marks, NOW, RECORD_COLUMNS, utc } from './columns';
import { MysqlInspection } from './inspection';
import { MysqlQueries } from './queries';

interface PickedRow extends MovedRow {
  readonly seq: string;
}

export class MysqlDeadLetters implements DeadLetterDialect {
  private readonly queries: MysqlQueries;
  private readonly inspection: MysqlInspection;

  constructor(
    private readonly names: TableNames,
    onDeadLetter: 'park' | 'skip',
  ) {
    this.queries = new MysqlQueries(names, onDeadLetter);
    this.inspection = new MysqlInspection(names, onDeadLetter);
  }

  async list(
    database: RelayDataSource,
    filter: DeadLetterFilter,
    limit: number,
    after: bigint | null,
  ): Promise<readonly WaitedForRow[]> {
    const { where, parameters } = this.conditions(filter);
    return (await database.query(
      `SELECT ${RECORD_COLUMNS}, ${this.inspection.waiting} AS waiting FROM ${this.names.message} AS m
       WHERE ${where} AND m.seq > ${integer(after ?? -1n)} ORDER BY m.seq LIMIT ${integer(limit)}`,
      parameters,
    )) as WaitedForRow[];
  }

  async count(database: RelayDataSource, filter: DeadLetterFilter): Promise<number> {
    const { where, parameters } = this.conditions(filter);
    const rows = (await database.query(
      `SELECT COUNT(*) AS count FROM ${this.names.message} AS m WHERE ${where}`,
      parameters,
    )) as { count: string }[];
    return Number(rows[0]?.count);
  }

  async get(database: RelayDataSource, id: string): Promise<WaitedForRow | null> {
    const rows = (await database.query(
      `SELECT ${RECORD_COLUMNS}, m.payload, ${this.inspection.waiting} AS waiting FROM ${this.names.message} AS m
       WHERE m.id = ?`,
      [id],
    )) as WaitedForRow[];
    return rows[0] ?? null;
  }

  /** Behind the first one of its key that is picked, and behind what else holds its key, a row goes back to `blocked`. */
  redrive(database: RelayDataSource, filter: DeadLetterFilter, limit: number): Promise<readonly MovedRow[]> {
    return database.transaction(async (statements) => {
      const picked = await this.pick(statements, filter, limit);
      const held = await this.held(statements, picked);
      for (const [status, rows] of [
        ['pending', picked.filter((row) => !held.has(row))],
        ['blocked', [...held]],
      ] as const) {
        await this.update(
          statements,
          rows,
          `m.status = '${status}', m.attempts = 0, m.claims = 0, m.next_attempt_at = ${NOW}, m.available_at = ${NOW},
           m.expires_at = NULL, m.dead_at = NULL, m.finished_at = NULL, m.alarm_due_at = NULL`,
        );
      }
      return picked;
    });
  }

  discard(database: RelayDataSource, filter: DeadLetterFilter, limit: number): Promise<readonly MovedRow[]> {
    return database.transaction(async (statements) => {
      const picked = await this.pick(statements, filter, limit);
      await this.update(
        statements,
        picked,
        `m.status = 'cancelled', m.finished_at = ${NOW}, m.alarm_due_at = NULL`,
      );
      return picked;
    });
  }

  private async update(
    statements: StatementRunner,
    rows: readonly PickedRow[],
    assignments: string,
  ): Promise<void> {
    for (const some of inChunks(rows)) {
      await statements.query(
        `UPDATE ${this.names.message} AS m FORCE INDEX (PRIMARY) SET ${assignments} WHERE m.id IN (${marks(some)})`,
        some.map(({ id }) => id),
      );
    }
  }

  /** By a scan of the table it would wait for every transaction that has published something and is still open. */
  private async pick(
    statements: StatementRunner,
    filter: DeadLetterFilter,
    limit: number,
  ): Promise<PickedRow[]> {
    const { where, parameters } = this.conditions(filter);
    return (await statements.query(
      `SELECT m.id, CAST(m.key_hash AS CHAR) AS key_hash, CAST(m.seq AS CHAR) AS seq
       FROM ${this.names.message} AS m FORCE INDEX (PRIMARY, finished)
       WHERE ${where} ORDER BY m.seq LIMIT ${integer(limit)} FOR UPDATE`,
      parameters,
    )) as PickedRow[];
  }

  private async held(statements: StatementRunner, picked: readonly PickedRow[]): Promise<Set<PickedRow>> {
    const hashes = [...new Set(picked.flatMap((row) => (row.key_hash === null ? [] : [row.key_hash])))];
    if (hashes.length === 0) return new Set();
    const firsts = new Map<string, bigint>();
    for (const some of inChunks(hashes)) {
      const sql = this.queries.firstHolding(some.map(BigInt));
      const rows = (await statements.query(sql)) as { hash: string; seq: string }[];
      for (const { hash, seq } of rows) firsts.set(hash, BigInt(seq));
    }
    const held = new Set<PickedRow>();
    for (const row of picked) {
      if (row.key_hash === null) continue;
      const first = firsts.get(row.key_hash);
      // `picked` is in the order of `seq`: what it holds of a key comes before the key's later ones.
      if (first !== undefined && first < BigInt(row.seq)) held.add(row);
      else firsts.set(row.key_hash, BigInt(row.seq));
    }
    return held;
  }

  private conditions(filter: DeadLetterFilter): { where: string; parameters: unknown[] } {
    const conditions = [`m.status = 'dead_letter'`];
    const parameters: unknown[] = [];
    const add = (value: string | undefined, condition: string): void => {
      if (value === undefined) return;
      conditions.push(condition);
      parameters.push(value);
    };
    if (filter.ids !== undefined) {
      conditions.push(filter.ids.length === 0 ? 'FALSE' : `m.id IN (${marks(filter.ids)})`);
      parameters.push(...filter.ids);
    }
    add(filter.type, 'm.type = ?');
    add(filter.transport, 'm.transport = ?');
    add(filter.destination, 'm.destination = ?');
    // By bytes: the collation ignores blanks at the end.
    add(filter.key, 'CAST(m.`key` AS BINARY) = CAST(? AS BINARY)');
    add(filter.tenant, 'm.tenant = ?');
    add(filter.deadFrom && utc(filter.deadFrom), 'm.dead_at >= ?');
    add(filter.deadUntil && utc(filter.deadUntil), 'm.dead_at < ?');
    add(filter.errorContains, 'LOCATE(LOWER(?), LOWER(m.last_error)) > 0');
    if (filter.parking !== undefined) conditions.push(`(${this.inspection.parks}) = ${filter.parking}`);
    return { where: conditions.join(' AND '), parameters };
  }
}
