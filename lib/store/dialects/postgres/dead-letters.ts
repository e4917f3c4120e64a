import type { DeadLetterFilter } from '../../../core/dead-letter-store.port';
import { holdingStatuses } from '../../../core/message-status';
import type { WaitedForRow } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import type { DeadLetterDialect, MovedRow } from '../dialect.port';
import { type Changed, firstOfKey, RECORD_COLUMNS } from './columns';
import { PostgresInspection } from './inspection';

export class PostgresDeadLetters implements DeadLetterDialect {
  private readonly held: string;
  private readonly inspection: PostgresInspection;

  constructor(
    private readonly names: TableNames,
    onDeadLetter: 'park' | 'skip',
  ) {
    this.inspection = new PostgresInspection(names, onDeadLetter);
    this.held = holdingStatuses(onDeadLetter)
      .map(
        (status) =>
          `${firstOfKey(names.message, '1', status, 'p.key_hash', 'AND e.seq < p.seq')} IS NOT NULL`,
      )
      .join(' OR ');
  }

  async list(
    database: RelayDataSource,
    filter: DeadLetterFilter,
    limit: number,
    after: bigint | null,
  ): Promise<readonly WaitedForRow[]> {
    const parameters: unknown[] = [limit, (after ?? -1n).toString()];
    const where = this.conditions(filter, parameters);
    return (await database.query(
      `SELECT ${RECORD_COLUMNS}, ${this.inspection.waiting} AS waiting FROM ${this.names.message} AS m
       WHERE ${where} AND m.seq > $2::bigint ORDER BY m.seq LIMIT $1`,
      parameters,
    )) as WaitedForRow[];
  }

  async count(database: RelayDataSource, filter: DeadLetterFilter): Promise<number> {
    const parameters: unknown[] = [];
    const where = this.conditions(filter, parameters);
    const rows = (await database.query(
      `SELECT count(*) AS count FROM ${this.names.message} AS m WHERE ${where}`,
      parameters,
    )) as { count: string }[];
    return Number(rows[0]?.count);
  }

  async get(database: RelayDataSource, id: string): Promise<WaitedForRow | null> {
    const rows = (await database.query(
      `SELECT ${RECORD_COLUMNS}, m.payload, ${this.inspection.waiting} AS waiting FROM ${this.names.message} AS m
       WHERE m.id = $1::uuid`,
      [id],
    )) as WaitedForRow[];
    return rows[0] ?? null;
  }

  /** Behind the first one of its key that is picked, and behind what else holds its key, a row goes back to `blocked`. */
  async redrive(
    database: RelayDataSource,
    filter: DeadLetterFilter,
    limit: number,
  ): Promise<readonly MovedRow[]> {
    const parameters: unknown[] = [limit];
    const where = this.conditions(filter, parameters);
    const [rows] = (await database.query(
      `WITH picked AS MATERIALIZED (
         SELECT m.id, m.key_hash, m.seq FROM ${this.names.message} AS m
         WHERE ${where} ORDER BY m.seq LIMIT $1 FOR UPDATE
       ), moving AS (
         SELECT p.id, p.key_hash IS NOT NULL AND (
           row_number() OVER (PARTITION BY p.key_hash ORDER BY p.seq) > 1
           OR ${this.held}
         ) AS held FROM picked AS p
       )
       UPDATE ${this.names.message} AS m
       SET status = CASE WHEN moving.held THEN 'blocked' ELSE 'pending' END, attempts = 0, claims = 0,
         next_attempt_at = clock_timestamp(), available_at = clock_timestamp(), expires_at = NULL,
         dead_at = NULL, finished_at = NULL, alarm_due_at = NULL
       FROM moving WHERE m.id = moving.id AND m.status = 'dead_letter'
       RETURNING m.id::text AS id, m.key_hash::text AS key_hash`,
      parameters,
    )) as Changed<MovedRow>;
    return rows;
  }

  async discard(
    database: RelayDataSource,
    filter: DeadLetterFilter,
    limit: number,
  ): Promise<readonly MovedRow[]> {
    const parameters: unknown[] = [limit];
    const where = this.conditions(filter, parameters);
    const [rows] = (await database.query(
      `UPDATE ${this.names.message} AS m SET status = 'cancelled', finished_at = statement_timestamp(), alarm_due_at = NULL
       WHERE m.ctid = ANY (ARRAY(
         SELECT m.ctid FROM ${this.names.message} AS m WHERE ${where} ORDER BY m.seq LIMIT $1 FOR UPDATE
       ))
       RETURNING m.id::text AS id, m.key_hash::text AS key_hash`,
      parameters,
    )) as Changed<MovedRow>;
    return rows;
  }

  private conditions(filter: DeadLetterFilter, parameters: unknown[]): string {
    const conditions = [`m.status = 'dead_letter'`];
    const add = (value: unknown, condition: (parameter: string) => string): void => {
      if (value === undefined) return;
      parameters.push(value);
      conditions.push(condition(`$${parameters.length}`));
    };
    add(filter.ids, (ids) => `m.id = ANY (${ids}::uuid[])`);
    add(filter.type, (type) => `m.type = ${type}`);
    add(filter.transport, (transport) => `m.transport = ${transport}`);
    add(filter.destination, (destination) => `m.destination = ${destination}`);
    add(filter.key, (key) => `m."key" = ${key}`);
    add(filter.tenant, (tenant) => `m.tenant = ${tenant}`);
    add(filter.deadFrom?.toISOString(), (time) => `m.dead_at >= ${time}::timestamptz`);
    add(filter.deadUntil?.toISOString(), (time) => `m.dead_at < ${time}::timestamptz`);
    add(filter.errorContains, (part) => `position(lower(${part}::text) IN lower(m.last_error)) > 0`);
    if (filter.parking !== undefined) conditions.push(`(${this.inspection.parks}) = ${filter.parking}`);
    return conditions.join(' AND ');
  }
}
