import type { ClaimTerms } from '../../../core/outbox-store.port';
import { fitText } from '../../message-limits';
import type { ClaimedRow } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import type { Promoted } from '../dialect.port';
import { type Changed, integers, interval, NOW } from './columns';
import type { MysqlQueries } from './queries';

type PromotableRow = ClaimedRow & { readonly take: number | string };

/**
 * Makes the next messages of keys `pending`: a look, and an UPDATE of what it found. Not in a transaction: the UPDATE is
 * fenced by the status, and a row that was taken bears our token.
 */
export class MysqlPromotion {
  private readonly bySeq: string;

  constructor(
    names: TableNames,
    private readonly queries: MysqlQueries,
  ) {
    this.bySeq = `${names.message} AS m FORCE INDEX (seq)`;
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
      `UPDATE ${this.bySeq} SET m.status = 'pending', m.next_attempt_at = m.available_at
       WHERE m.seq IN (${seqsOf(heads)}) AND m.status = 'blocked'`,
    )) as Changed;
    return { promoted: affectedRows, claimed: [] };
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
         m.next_attempt_at = IF(${isTaken}, ${NOW} + ${interval(leaseMs)}, m.available_at)
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

function seqsOf(rows: readonly { readonly seq: string }[]): string {
  return integers(rows.map(({ seq }) => BigInt(seq)));
}
