import type { ClaimTerms, Completion, ReadAhead } from '../../../core/outbox-store.port';
import { type Hot, hotStatement } from '../../hot-statement';
import { fitText } from '../../message-limits';
import type { ClaimedRow } from '../../message-row';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import type { Promoted, PromotedInChain } from '../dialect.port';
import { type Changed, CLAIMED_COLUMNS, CLAIMED_NAMES, interval, statusIs } from './columns';
import type { PostgresQueries } from './queries';

type PromotedRow = ClaimedRow & { readonly take: boolean };
/** What was only read bears what it waits behind: a promoted row, or one that was read earlier. */
type ReadRow = PromotedRow & { readonly behind: 'promoted' | 'read' | null };

/** The end of one message and the turn of its key's next one: each by itself, or both in one statement. */
export class PostgresPromotion {
  private readonly completes: Hot;
  private readonly promotes: Hot;
  private readonly completesAndPromotes: Hot;

  constructor(
    private readonly names: TableNames,
    private readonly queries: PostgresQueries,
  ) {
    this.completes = hotStatement(this.completing('$1'));
    this.promotes = hotStatement(this.promoting());
    const completed = 'SELECT id FROM completed';
    const ahead = this.queries.ahead('$6::int', '$7::bigint', completed);
    this.completesAndPromotes = hotStatement(
      `WITH completed AS (${this.completing('$5')} RETURNING m.id),
         promoted AS (${this.promoting(completed)})
       SELECT NULL AS behind, take, ${CLAIMED_NAMES} FROM promoted
       UNION ALL
       SELECT 'promoted', f.* FROM promoted AS p CROSS JOIN LATERAL (${ahead}) AS f WHERE p.take
       UNION ALL
       SELECT 'read', f.* FROM ${names.message} AS p CROSS JOIN LATERAL (${ahead}) AS f WHERE p.id = ANY ($8::uuid[])`,
    );
  }

  async complete(database: RelayDataSource, ids: readonly string[]): Promise<number> {
    const [, count] = (await database.execute(this.completes([[...ids].sort()]))) as Changed;
    return count;
  }

  async promote(
    database: RelayDataSource,
    keyHashes: readonly bigint[],
    claim: ClaimTerms | null,
  ): Promise<Promoted> {
    const [rows, promoted] = (await database.execute(
      this.promotes(parametersOf(keyHashes, claim)),
    )) as Changed<PromotedRow>;
    return { promoted, claimed: claim === null ? [] : rows.filter(({ take }) => take) };
  }

  /**
   * The statement sees what was committed when it began, and there the messages that it completes still hold their keys, or
   * wait in them: so they are left out, as far as they really become `sent`. One that somebody else has just made a dead
   * letter does not, and holds its key on.
   */
  async completeAndPromote(
    database: RelayDataSource,
    completions: readonly Completion[],
    claim: ClaimTerms,
    ahead: ReadAhead,
  ): Promise<PromotedInChain> {
    const left = new Set(completions.flatMap(({ keyHash }) => (keyHash === null ? [] : [keyHash])));
    const rows = (await database.execute(
      this.completesAndPromotes([
        ...parametersOf([...left], claim),
        completions.map(({ id }) => id).sort(),
        ahead.count,
        ahead.bytes,
        ahead.behind ?? [],
      ]),
    )) as ReadRow[];
    const promoted = rows.filter(({ behind }) => behind === null);
    for (const { key_hash } of promoted) if (key_hash !== null) left.delete(BigInt(key_hash));
    return {
      promoted: promoted.length,
      claimed: promoted.filter(({ take }) => take),
      ahead: rows.filter(({ behind }) => behind === 'promoted'),
      further: rows.filter(({ behind }) => behind === 'read'),
      left: [...left],
    };
  }

  private completing(ids: string): string {
    return `UPDATE ${this.names.message} AS m
       SET status = 'sent', sent_at = statement_timestamp(), finished_at = statement_timestamp(),
         claim_token = NULL, claimed_by = NULL
       WHERE m.id = ANY (${ids}::uuid[]) AND ${statusIs('pending', 'blocked')}`;
  }

  /** With `parametersOf`. @param except as in `promotable` */
  private promoting(except?: string): string {
    return `UPDATE ${this.names.message} AS m
       SET status = 'pending',
         claim_token = CASE WHEN h.take THEN $2::text END,
         claimed_by = CASE WHEN h.take THEN $3::text END,
         claims = CASE WHEN h.take THEN 1 ELSE 0 END,
         next_attempt_at = CASE WHEN h.take THEN clock_timestamp() + ${interval('$4')} ELSE greatest(m.available_at, clock_timestamp()) END
       FROM (${this.queries.promotable('$1::bigint[]', '$2', except)}) AS h
       WHERE m.ctid = h.place AND ${statusIs('blocked')}
       RETURNING h.take, ${CLAIMED_COLUMNS}`;
  }
}

function parametersOf(keyHashes: readonly bigint[], claim: ClaimTerms | null): unknown[] {
  return [
    keyHashes.map(String),
    claim?.token ?? null,
    claim === null ? null : fitText(claim.owner, 255),
    claim?.leaseMs ?? 0,
  ];
}
