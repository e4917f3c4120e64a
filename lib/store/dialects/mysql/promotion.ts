import type { ClaimTerms, ReadAhead } from '../../../core/outbox-store.port';
import { fitText } from '../../message-limits';
import { chunksOf } from '../../chunks';
import { bySeq, type ClaimedRow, type KeyPlace } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import type { Promoted } from '../dialect.port';
import { type Changed, CLAIMED_COLUMNS, inChunks, integers, interval, marks, NOW } from './columns';
import type { MysqlQueries } from './queries';

/** Keys of one look ahead: each is a SELECT of its own in it. */
const KEYS_AHEAD = 50;

type PromotableRow = ClaimedRow & { readonly take: number | string };

interface AheadRow {
  readonly hash: string;
  readonly seq: string;
  readonly size: number | string;
  readonly fits: number | string;
}

/**
 * Makes the next messages of keys `pending`: a look, and an UPDATE of what it found. Not in a transaction: the UPDATE is
 * fenced by the status, and a row that was taken bears our token.
 */
export class MysqlPromotion {
  private readonly bySeq: string;
  private readonly byId: string;

  constructor(
    names: TableNames,
    private readonly queries: MysqlQueries,
  ) {
    this.bySeq = `${names.message} AS m FORCE INDEX (seq)`;
    this.byId = `${names.message} AS m FORCE INDEX (PRIMARY)`;
  }

  async promote(
    database: RelayDataSource,
    keyHashes: readonly bigint[],
    claim: ClaimTerms | null,
  ): Promise<Promoted> {
    if (claim !== null) return this.promoteAndTake(database, keyHashes, claim);
    const heads = (await database.query(this.queries.promotable(keyHashes))) as { seq: string }[];
    if (heads.length === 0) return { promoted: 0, claimed: [] };
    const { affectedRows } = (await database.query(
      `UPDATE ${this.bySeq} SET m.status = 'pending', m.next_attempt_at = GREATEST(m.available_at, ${NOW})
       WHERE m.seq IN (${seqsOf(heads)}) AND m.status = 'blocked'`,
    )) as Changed;
    return { promoted: affectedRows, claimed: [] };
  }

  /**
   * What follows these in their keys, up to the first one that must not be sent right behind the one before it. First a
   * look at what the rows are, so that no payload is read in vain.
   */
  async ahead(
    database: RelayDataSource,
    heads: readonly KeyPlace[],
    { count, bytes }: ReadAhead,
  ): Promise<readonly ClaimedRow[]> {
    if (count === 0) return [];
    const seqs: bigint[] = [];
    for (const some of chunksOf(heads, KEYS_AHEAD)) {
      const rows = (await database.query(this.queries.ahead(some, count))) as AheadRow[];
      seqs.push(...fittingOf(rows, bytes));
    }
    const found: ClaimedRow[] = [];
    for (const some of inChunks(seqs)) {
      const sql = `SELECT ${CLAIMED_COLUMNS} FROM ${this.bySeq} WHERE m.seq IN (${integers(some)}) AND m.status = 'blocked'`;
      found.push(...((await database.query(sql)) as ClaimedRow[]));
    }
    return found;
  }

  /** What follows those that were read earlier. They are found by their ids: some of them are `sent` by now. */
  async further(database: RelayDataSource, ahead: ReadAhead): Promise<readonly ClaimedRow[]> {
    const { behind = [] } = ahead;
    if (behind.length === 0) return [];
    const rows = (await database.query(
      `SELECT CAST(m.key_hash AS CHAR) AS key_hash, CAST(m.seq AS CHAR) AS seq
       FROM ${this.byId} WHERE m.id IN (${marks(behind)})`,
      [...behind],
    )) as KeyPlace[];
    return rows.length === 0 ? [] : this.ahead(database, rows, ahead);
  }

  private async promoteAndTake(
    database: RelayDataSource,
    keyHashes: readonly bigint[],
    { token, owner, leaseMs }: ClaimTerms,
  ): Promise<Promoted> {
    const heads = (await database.query(this.queries.promotableRows(keyHashes))) as PromotableRow[];
    if (heads.length === 0) return { promoted: 0, claimed: [] };
    const taken = heads.filter(({ take }) => Number(take) === 1);
    const isTaken = taken.length === 0 ? 'FALSE' : `m.seq IN (${seqsOf(taken)})`;
    const { affectedRows } = (await database.query(
      `UPDATE ${this.bySeq} SET m.status = 'pending', m.claim_token = IF(${isTaken}, ?, NULL),
         m.claimed_by = IF(${isTaken}, ?, NULL), m.claims = IF(${isTaken}, 1, 0),
         m.next_attempt_at = IF(${isTaken}, ${NOW} + ${interval(leaseMs)}, GREATEST(m.available_at, ${NOW}))
       WHERE m.seq IN (${seqsOf(heads)}) AND m.status = 'blocked'`,
      [token, fitText(owner, 255)],
    )) as Changed;
    const claimed = taken.map((row) => ({ ...row, claims: 1 }));
    if (affectedRows === heads.length) return { promoted: affectedRows, claimed };
    // Somebody else took some of them in between; the token tells which are ours.
    const ours = (await database.query(
      `SELECT m.id FROM ${this.bySeq} WHERE m.seq IN (${seqsOf(heads)}) AND m.claim_token = ? AND m.status = 'pending'`,
      [token],
    )) as { id: string }[];
    const ids = new Set(ours.map(({ id }) => id));
    return { promoted: affectedRows, claimed: claimed.filter(({ id }) => ids.has(id)) };
  }
}

/** Of each key those before the first one that does not fit. */
function fittingOf(rows: readonly AheadRow[], bytes: number): bigint[] {
  const sums = new Map<string, number>();
  const seqs: bigint[] = [];
  for (const { hash, seq, size, fits } of bySeq(rows)) {
    const sum = (sums.get(hash) ?? 0) + (Number(fits) === 1 ? Number(size) : Number.POSITIVE_INFINITY);
    sums.set(hash, sum);
    if (sum <= bytes) seqs.push(BigInt(seq));
  }
  return seqs;
}

function seqsOf(rows: readonly { readonly seq: string }[]): string {
  return integers(rows.map(({ seq }) => BigInt(seq)));
}
