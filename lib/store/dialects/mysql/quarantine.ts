import type { StatementRunner } from '../../../core/statement-runner';
import { EXPIRED, quarantineReason } from '../../given-up';
import type { RecordRow } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import { interval, marks, NOW, RECORD_COLUMNS, ROWS_MAX } from './columns';
import type { MysqlQueries } from './queries';

/** Ends what nobody may claim any more: dead letters of rows that kill who sends them, and an end to what has expired. */
export class MysqlQuarantine {
  constructor(
    private readonly queries: MysqlQueries,
    /** The table, where rows are named by their ids. */
    private readonly byId: string,
    private readonly alarmLeaseMs: number,
  ) {}

  /** Looks first without locks, which usually ends it: a locking scan would be in the way of claims. */
  async take(database: RelayDataSource, claimsMax: number, limit: number): Promise<readonly RecordRow[]> {
    const rowsMax = Math.min(limit, ROWS_MAX);
    const suspects = await this.suspects(database, claimsMax, rowsMax);
    if (suspects.length === 0) return [];
    return database.transaction(async (statements) => {
      const rows = (await statements.query(
        `SELECT m.id, CAST(m.key_hash AS CHAR) AS key_hash, m.claims FROM ${this.byId}
         WHERE m.id IN (${marks(suspects)}) AND m.status = 'pending'
           AND m.next_attempt_at <= ${NOW} AND ${this.queries.isUnclaimable(claimsMax)} FOR UPDATE SKIP LOCKED`,
        [...suspects],
      )) as { id: string; key_hash: string | null; claims: number }[];
      const dead = rows.filter(({ claims }) => claims >= claimsMax).map(({ id }) => id);
      const expired = rows.filter(({ claims }) => claims < claimsMax);
      const keys = new Set(expired.flatMap(({ key_hash }) => (key_hash === null ? [] : [BigInt(key_hash)])));
      const behind =
        keys.size === 0
          ? []
          : ((await statements.query(this.queries.expiredBehind([...keys], rowsMax - rows.length))) as {
              id: string;
            }[]);
      const cancelled = [...expired, ...behind].map(({ id }) => id);
      return [
        ...(await this.end(
          statements,
          dead,
          `'dead_letter', m.dead_at = ${NOW}, m.alarm_due_at = ${NOW} + ${interval(this.alarmLeaseMs)}`,
          quarantineReason(claimsMax),
        )),
        ...(await this.end(statements, cancelled, `'cancelled'`, EXPIRED)),
      ];
    });
  }

  private async end(
    statements: StatementRunner,
    ids: readonly string[],
    status: string,
    reason: string,
  ): Promise<readonly RecordRow[]> {
    if (ids.length === 0) return [];
    await statements.query(
      `UPDATE ${this.byId} SET m.status = ${status}, m.claim_token = NULL, m.claimed_by = NULL, m.last_error = ?,
         m.finished_at = ${NOW} WHERE m.id IN (${marks(ids)})`,
      [reason, ...ids],
    );
    const sql = `SELECT ${RECORD_COLUMNS} FROM ${this.byId} WHERE m.id IN (${marks(ids)})`;
    return (await statements.query(sql, [...ids])) as RecordRow[];
  }

  private async suspects(
    database: RelayDataSource,
    claimsMax: number,
    limit: number,
  ): Promise<readonly string[]> {
    const suspects: string[] = [];
    for (let transport: string | undefined = ''; transport !== undefined && suspects.length < limit;) {
      const next = (await database.query(this.queries.pendingTransport(), [transport])) as {
        transport: string;
      }[];
      transport = next[0]?.transport;
      if (transport === undefined) break;
      const sql = this.queries.unclaimable(claimsMax, limit - suspects.length);
      suspects.push(...((await database.query(sql, [transport])) as { id: string }[]).map(({ id }) => id));
    }
    return suspects;
  }
}
