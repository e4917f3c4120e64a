import fc from 'fast-check';
import type { IsolationLevel } from '../../../lib/core/transactions.port';
import { hashOf } from '../../contracts/outbox-store.harness';
import type { Model } from '../model';
import type { Draft, Row, Taking } from '../row';

export type NewMessage = Omit<Draft, 'id'>;

export const TRANSPORTS = ['rabbitmq', 'other'] as const;
const KEYS = ['a', 'b'] as const;
/** After so many takings without an outcome a message is hopeless. */
export const CLAIMS_MAX = 3;

// Where keys are locked by buckets, these are in buckets of their own: the model knows of keys alone.
const buckets = TRANSPORTS.flatMap((transport) => KEYS.map((key) => hashOf(`${transport} ${key}`) & 1023n));
if (new Set(buckets).size < buckets.length) throw new Error('Two of the keys share a bucket of locks');

export const ISOLATION: fc.Arbitrary<IsolationLevel | null> = fc.constantFrom(
  'READ COMMITTED',
  null,
  'REPEATABLE READ',
  'SERIALIZABLE',
);
const TRANSPORT = fc.oneof(
  { weight: 3, arbitrary: fc.constant(TRANSPORTS[0]) },
  { weight: 1, arbitrary: fc.constant(TRANSPORTS[1]) },
);
export const SOME_TRANSPORTS = fc.subarray([...TRANSPORTS], { minLength: 1 });
export const MESSAGE: fc.Arbitrary<NewMessage> = fc.record({
  transport: TRANSPORT,
  key: fc.constantFrom('a', 'a', 'a', 'b', null),
  delayTicks: fc.constantFrom(0, 0, 0, 1, 2),
  expiresInTicks: fc.constantFrom(null, null, null, 1, 2),
});
export const LEASE = fc.constantFrom(1, 2);
export const LIMIT = fc.constantFrom(100, 1, 2);

/** Some of the takings: see `takingsOf`. */
export const SOME_TAKINGS = fc.uniqueArray(fc.nat(7), { minLength: 1, maxLength: 4 });

/** First those of messages that may still move, whoever holds them by now; the newest first. */
export function takingsOf(model: Model, picks: readonly number[]): Taking[] {
  const mayMove = ({ id }: Taking): boolean => model.committed.get(id)?.status === 'pending';
  const newest = [...model.takings].reverse();
  const ordered = [...newest.filter(mayMove), ...newest.filter((taking) => !mayMove(taking))];
  return picks.flatMap((pick) => ordered[pick] ?? []);
}

/** Each message once. */
export function distinct(takings: readonly Taking[]): Taking[] {
  return [...new Map(takings.map((taking) => [taking.id, taking])).values()];
}

export function keysOf(rows: readonly Pick<Row, 'key'>[]): string[] {
  return [...new Set(rows.flatMap(({ key }) => key ?? []))].sort();
}

/** As it stands in a counterexample. */
export function text(value: unknown): string {
  return JSON.stringify(value)?.replaceAll('"', '') ?? 'none';
}
