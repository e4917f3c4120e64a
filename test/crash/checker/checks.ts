import { deadQueueOf, EFFECT_QUEUES } from '../topology';
import type { BusinessRow, Copy, Facts, Violation, ViolationKind } from './facts';

/** Compares the facts with the guarantees. Touches nothing. */
export function violationsIn(facts: Facts): Violation[] {
  return [
    ...lostMessages(facts),
    ...inventedMessages(facts),
    ...wrongEffects(facts),
    ...disorder(facts),
    ...silentDeadLetters(facts),
    ...unsentRows(facts),
    ...facts.leaks.map((what) => ({ kind: 'leaked connections' as const, what, ids: [] })),
  ];
}

function of(kind: ViolationKind, what: string, ...ids: string[]): Violation {
  return { kind, what, ids };
}

function lostMessages({ business, outbox }: Facts): Violation[] {
  const rows = new Set(outbox.map(({ id }) => id));
  return business
    .filter(({ id }) => !rows.has(id))
    .map(({ id }) => of('committed without message', `${id} is committed and has no row in the outbox`, id));
}

function inventedMessages({ business, outbox, copies, effects }: Facts): Violation[] {
  const committed = new Set(business.map(({ id }) => id));
  const seen = new Map<string, string>();
  for (const { id } of copies) seen.set(id, 'reached the broker');
  for (const ofQueue of effects.values()) for (const id of ofQueue.keys()) seen.set(id, 'took effect');
  for (const { id } of outbox) seen.set(id, 'has a row in the outbox');
  return [...seen]
    .filter(([id]) => !committed.has(id))
    .map(([id, how]) =>
      of('message without commit', `${id} ${how}, and its transaction is not committed`, id),
    );
}

function wrongEffects({ business, copies, effects, deadCopies }: Facts): Violation[] {
  const kind = 'effects per message other than 1';
  const arrived = new Set(copies.map(({ id }) => id));
  return business.flatMap(({ id, hopeless }) => {
    const found: Violation[] = [];
    if (!arrived.has(id)) found.push(of(kind, `${id} never reached the broker`, id));
    for (const queue of EFFECT_QUEUES) {
      const count = effects.get(queue)?.get(id) ?? 0;
      const expected = hopeless ? 0 : 1;
      if (count !== expected)
        found.push(of(kind, `${id} took effect ${count} times in ${queue}, not ${expected}`, id));
      if (hopeless && !deadCopies.get(deadQueueOf(queue))?.has(id))
        found.push(of(kind, `${id}, which ${queue} cannot take, is not in its dead-letter queue`, id));
    }
    return found;
  });
}

/** The first copies of each key, in the order in which the broker had them. */
export function firstCopiesByKey(copies: readonly Copy[]): Map<string, string[]> {
  const seen = new Set<string>();
  const byKey = new Map<string, string[]>();
  for (const { id, exchange, key } of copies) {
    if (key === null || seen.has(id)) continue;
    seen.add(id);
    const scope = `${exchange} ${key}`;
    const list = byKey.get(scope);
    if (list === undefined) byKey.set(scope, [id]);
    else list.push(id);
  }
  return byKey;
}

function disorder({ business, copies, commits }: Facts): Violation[] {
  const rows = new Map(business.map((row) => [row.id, row]));
  return [...firstCopiesByKey(copies)].flatMap(([scope, ids]) => [
    ...disorderByPlace(scope, ids, rows),
    ...disorderInTime(scope, ids, commits),
  ]);
}

function disorderByPlace(
  scope: string,
  ids: readonly string[],
  rows: ReadonlyMap<string, BusinessRow>,
): Violation[] {
  const found: Violation[] = [];
  let last: { id: string; place: number } | null = null;
  for (const id of ids) {
    const place = rows.get(id)?.place ?? null;
    if (place === null) continue;
    if (last !== null && place < last.place) {
      const what = `${scope}: ${id} (place ${place}) left after ${last.id} (place ${last.place})`;
      found.push(of('order violations among first copies', what, id, last.id));
    } else last = { id, place };
  }
  return found;
}

/** Where one commit had ended before another began, their order is certain; where they overlap, either is right. */
function disorderInTime(scope: string, ids: readonly string[], commits: Facts['commits']): Violation[] {
  const found: Violation[] = [];
  let latest: { id: string; beganAt: bigint } | null = null;
  for (const id of ids) {
    const commit = commits.get(id);
    if (commit === undefined) continue;
    if (latest !== null && commit.endedAt !== null && commit.endedAt < latest.beganAt) {
      const what = `${scope}: ${id} was committed before the commit of ${latest.id} began, and left after it`;
      found.push(of('order violations among first copies', what, id, latest.id));
    }
    if (latest === null || commit.beganAt > latest.beganAt) latest = { id, beganAt: commit.beganAt };
  }
  return found;
}

function silentDeadLetters({ business, deadLetters, alarms }: Facts): Violation[] {
  const kind = 'dead letters without alarm';
  return [
    ...[...deadLetters]
      .filter((id) => !alarms.outbox.has(id))
      .map((id) => of(kind, `${id} became a dead letter of the outbox, and no alarm was raised`, id)),
    ...business
      .filter(({ id, hopeless }) => hopeless && !alarms.inbox.has(id))
      .map(({ id }) => of(kind, `${id} became a dead letter of a consumer, and no alarm was raised`, id)),
  ];
}

function unsentRows({ outbox }: Facts): Violation[] {
  return outbox
    .filter(({ status }) => status !== 'sent')
    .map(({ id, status, lastError }) =>
      of(
        'rows unsent after quiet time',
        `${id} is ${status}${lastError === null ? '' : `: ${lastError}`}`,
        id,
      ),
    );
}
