import { holdingStatuses } from '../../../core/message-status';
import type { SituationRow } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import { epochMs, NOW, RECORD_COLUMNS } from './columns';

/** Who waits behind whom in a key: for people who look, so each in one statement, and by the index of keys alone. */
export class MysqlInspection {
  /** How many later messages of its key the row `m` holds back. */
  readonly waiting: string;
  /** Whether the dead letter `m` holds any. */
  readonly parks: string;
  /** `keys` that dead letters hold, and the `messages` behind them. */
  readonly parked: string;
  private readonly table: string;
  private readonly holding: readonly string[];

  constructor({ message: table }: TableNames, onDeadLetter: 'park' | 'skip') {
    this.table = table;
    this.holding = holdingStatuses(onDeadLetter);
    const parks = onDeadLetter === 'park';
    const holds = this.holding.map((status) => `'${status}'`).join(', ');
    const behind = ofKey(table, 'blocked', 'm.key_hash', '> m.seq');
    this.waiting = `IF(m.status IN (${holds}), (SELECT COUNT(*) ${behind}), 0)`;
    this.parks = parks ? `(SELECT 1 ${behind} ORDER BY e.seq LIMIT 1) IS NOT NULL` : 'FALSE';
    this.parked = parks ? parkedKeys(table) : 'SELECT 0 AS `keys`, 0 AS messages';
  }

  /** The row, and, when it is blocked, the first message ahead of it in each status that holds a key. */
  async inspect(database: RelayDataSource, id: string): Promise<readonly SituationRow[]> {
    const left = (column: string): string => `TIMESTAMPDIFF(MICROSECOND, ${NOW}, m.${column}) / 1000`;
    const counts = this.holding.map(
      (status) => `(SELECT COUNT(*) ${ofKey(this.table, status, 'm.key_hash', '< m.seq')})`,
    );
    const heads = this.holding.map((status) => {
      const first = `(SELECT e.id ${ofKey(this.table, status, 'o.key_hash', '< o.seq')} ORDER BY e.seq LIMIT 1)`;
      return `SELECT ${RECORD_COLUMNS}, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM ${this.table} AS m FORCE INDEX (PRIMARY)
         WHERE m.id = (SELECT ${first} FROM ${this.table} AS o FORCE INDEX (PRIMARY) WHERE o.id = ? AND o.status = 'blocked')`;
    });
    return (await database.query(
      `SELECT ${RECORD_COLUMNS}, ${left('next_attempt_at')} AS due_in_ms, ${left('available_at')} AS available_in_ms,
         ${left('expires_at')} AS expires_in_ms, ${epochMs('m.finished_at')} AS finished_ms,
         m.claim_token IS NOT NULL AS claimed, ${this.waiting} AS waiting,
         IF(m.status = 'blocked', ${counts.join(' + ')}, 0) AS ahead
       FROM ${this.table} AS m WHERE m.id = ?
       UNION ALL ${heads.join('\nUNION ALL ')}`,
      [id, ...heads.map(() => id)],
    )) as SituationRow[];
  }
}

function ofKey(table: string, status: string, hash: string, seq: string): string {
  return `FROM ${table} AS e FORCE INDEX (key_order) WHERE e.status = '${status}' AND e.key_hash = ${hash} AND e.seq ${seq}`;
}

/** Each key by its first dead letter. The server hops there if it likes; at worst it reads all dead letters of the index. */
function parkedKeys(table: string): string {
  return `SELECT COUNT(*) AS \`keys\`, COALESCE(SUM(c.behind), 0) AS messages FROM (
       SELECT (SELECT COUNT(*) ${ofKey(table, 'blocked', 'd.hash', '> d.seq')}) AS behind FROM (
         SELECT m.key_hash AS hash, MIN(m.seq) AS seq FROM ${table} AS m FORCE INDEX (key_order)
         WHERE m.status = 'dead_letter' AND m.key_hash IS NOT NULL GROUP BY m.key_hash
       ) AS d
     ) AS c WHERE c.behind > 0`;
}
