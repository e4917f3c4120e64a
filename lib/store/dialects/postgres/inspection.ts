import { holdingStatuses } from '../../../core/message-status';
import type { SituationRow } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import { epochMs, firstOfKey, keyStatusIs, RECORD_COLUMNS } from './columns';

/** Who waits behind whom in a key: for people who look, so each in one statement, and by the index of keys alone. */
export class PostgresInspection {
  /** How many later messages of its key the row `m` holds back. */
  readonly waiting: string;
  /** Whether the dead letter `m` holds any. */
  readonly parks: string;
  /** `keys` that dead letters hold, and the `messages` behind them: hops from dead key to dead key. */
  readonly parked: string;
  private readonly table: string;
  private readonly holding: readonly string[];

  constructor({ message: table }: TableNames, onDeadLetter: 'park' | 'skip') {
    this.table = table;
    this.holding = holdingStatuses(onDeadLetter);
    const parks = onDeadLetter === 'park';
    const holds = this.holding.map((status) => `'${status}'`).join(', ');
    this.waiting = `CASE WHEN m.status IN (${holds}) THEN ${countOfKey(table, 'blocked', 'm.key_hash', '> m.seq')} ELSE 0 END`;
    this.parks = parks
      ? `${firstOfKey(table, '1', 'blocked', 'm.key_hash', 'AND e.seq > m.seq')} IS NOT NULL`
      : 'false';
    this.parked = parks ? parkedKeys(table) : 'SELECT 0 AS keys, 0 AS messages';
  }

  /** The row, and, when it is blocked, the first message ahead of it in each status that holds a key. */
  async inspect(database: RelayDataSource, id: string): Promise<readonly SituationRow[]> {
    const left = (column: string): string => epochMs(`(m.${column} - statement_timestamp())`);
    const counts = this.holding.map((status) => countOfKey(this.table, status, 'm.key_hash', '< m.seq'));
    const heads = this.holding.map((status) => {
      const first = firstOfKey(this.table, 'e.id', status, 'o.key_hash', 'AND e.seq < o.seq');
      return `SELECT ${RECORD_COLUMNS}, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM ${this.table} AS m
         WHERE m.id = (SELECT ${first} FROM ${this.table} AS o WHERE o.id = $1::uuid AND o.status = 'blocked')`;
    });
    return (await database.query(
      `SELECT ${RECORD_COLUMNS}, ${left('next_attempt_at')} AS due_in_ms, ${left('available_at')} AS available_in_ms,
         ${left('expires_at')} AS expires_in_ms, ${epochMs('m.finished_at')} AS finished_ms,
         m.claim_token IS NOT NULL AS claimed, ${this.waiting} AS waiting,
         CASE WHEN m.status = 'blocked' THEN ${counts.join(' + ')} ELSE 0 END AS ahead
       FROM ${this.table} AS m WHERE m.id = $1::uuid
       UNION ALL ${heads.join('\nUNION ALL ')}`,
      [id],
    )) as SituationRow[];
  }
}

function countOfKey(table: string, status: string, hash: string, seq: string): string {
  return `(SELECT count(*) FROM ${table} AS e WHERE ${keyStatusIs('e', status)} AND e.key_hash = ${hash} AND e.seq ${seq})`;
}

function parkedKeys(table: string): string {
  const next = (more: string): string =>
    `(SELECT key_hash FROM ${table} AS m WHERE ${keyStatusIs('m', 'dead_letter')} AND key_hash IS NOT NULL ${more} ORDER BY key_hash LIMIT 1)`;
  const dead = firstOfKey(table, 'e.seq', 'dead_letter', 'k.hash');
  return `SELECT count(*) AS keys, coalesce(sum(c.behind), 0) AS messages FROM (
       WITH RECURSIVE keys AS (
         SELECT ${next('')} AS hash
         UNION ALL
         SELECT ${next('AND key_hash > k.hash')} FROM keys AS k WHERE k.hash IS NOT NULL
       )
       SELECT ${countOfKey(table, 'blocked', 'k.hash', `> ${dead}`)} AS behind FROM keys AS k WHERE k.hash IS NOT NULL
     ) AS c WHERE c.behind > 0`;
}
