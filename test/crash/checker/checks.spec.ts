import { deadQueueOf, EFFECT_QUEUES } from '../topology';
import { violationsIn } from './checks';
import type { BusinessRow, Facts } from './facts';

const row = (id: string, rest: Partial<BusinessRow> = {}): BusinessRow => ({
  id,
  exchange: 'main',
  key: 'k',
  place: null,
  hopeless: false,
  ...rest,
});

/** Two messages of one key, as they should be. */
function sound(): Facts {
  const business = [row('a', { place: 1 }), row('b', { place: 2 })];
  return {
    business,
    outbox: business.map(({ id }) => ({ id, status: 'sent', lastError: null })),
    effects: new Map(EFFECT_QUEUES.map((queue) => [queue, new Map([...'ab'].map((id) => [id, 1]))])),
    copies: [...'ab'].map((id) => ({ id, exchange: 'main', key: 'k' })),
    deadCopies: new Map(EFFECT_QUEUES.map((queue) => [deadQueueOf(queue), new Set<string>()])),
    commits: new Map([
      ['a', { beganAt: 1n, endedAt: 2n }],
      ['b', { beganAt: 3n, endedAt: 4n }],
    ]),
    deadLetters: new Set(),
    alarms: { outbox: new Set(), inbox: new Set() },
    leaks: [],
  };
}

const kinds = (changes: Partial<Facts>): string[] =>
  violationsIn({ ...sound(), ...changes }).map(({ kind }) => kind);

describe('the checker', () => {
  it('finds nothing where nothing is wrong', () => {
    expect(kinds({})).toEqual([]);
  });

  it('finds a business row without a message', () => {
    expect(kinds({ outbox: sound().outbox.slice(1) })).toEqual(['committed without message']);
  });

  it.each(['outbox', 'copies', 'effects'] as const)('finds a message of nobody among the %s', (where) => {
    const facts = sound();
    const invented: Partial<Facts> = {
      outbox: [...facts.outbox, { id: 'x', status: 'sent', lastError: null }],
      copies: [...facts.copies, { id: 'x', exchange: 'main', key: null }],
      effects: new Map([...facts.effects, ['elsewhere', new Map([['x', 1]])]]),
    };
    expect(kinds({ [where]: invented[where] })).toEqual(['message without commit']);
  });

  it.each([0, 2])('finds a message that took effect %i times', (count) => {
    const effects = new Map([
      ...sound().effects,
      [
        EFFECT_QUEUES[0],
        new Map([
          ['a', count],
          ['b', 1],
        ]),
      ],
    ]);
    expect(kinds({ effects })).toEqual(['effects per message other than 1']);
  });

  it('finds a message that never reached the broker', () => {
    expect(kinds({ copies: sound().copies.slice(1) })).toEqual(['effects per message other than 1']);
  });

  it('finds a message that no consumer takes and that is in no dead-letter queue', () => {
    const business = [row('a', { hopeless: true }), row('b')];
    const effects = new Map(EFFECT_QUEUES.map((queue) => [queue as string, new Map([['b', 1]])]));
    const alarms = { outbox: new Set<string>(), inbox: new Set(['a']) };
    const found = kinds({ business, effects, alarms });
    expect(found).toEqual(EFFECT_QUEUES.map(() => 'effects per message other than 1'));
  });

  it('finds first copies that left in another order than was counted', () => {
    const copies = [...sound().copies].reverse();
    expect(kinds({ copies, commits: new Map() })).toEqual(['order violations among first copies']);
  });

  it('finds first copies that left in another order than their commits', () => {
    const copies = [...sound().copies].reverse();
    expect(kinds({ copies, business: [row('a'), row('b')] })).toEqual([
      'order violations among first copies',
    ]);
  });

  it('asks no order of commits that overlap, of later copies, or of different keys', () => {
    const business = [row('a'), row('b')];
    const copies = [...sound().copies].reverse();
    const commits = new Map([
      ['a', { beganAt: 1n, endedAt: 4n }],
      ['b', { beganAt: 3n, endedAt: 5n }],
    ]);
    expect(kinds({ business, copies, commits })).toEqual([]);
    expect(kinds({ copies: [...sound().copies, ...copies] })).toEqual([]);
    expect(kinds({ copies: copies.map((copy) => ({ ...copy, exchange: copy.id })) })).toEqual([]);
  });

  it('finds dead letters of both sides that rang no alarm', () => {
    expect(kinds({ deadLetters: new Set(['a']) })).toEqual(['dead letters without alarm']);
    const deadCopies = new Map(EFFECT_QUEUES.map((queue) => [deadQueueOf(queue), new Set(['a'])]));
    const effects = new Map(EFFECT_QUEUES.map((queue) => [queue as string, new Map([['b', 1]])]));
    const business = [row('a', { hopeless: true }), row('b')];
    expect(kinds({ business, effects, deadCopies })).toEqual(['dead letters without alarm']);
  });

  it('finds rows that are left unsent', () => {
    const outbox = sound().outbox.map((each) => ({ ...each, status: 'blocked' }));
    expect(kinds({ outbox })).toEqual(['rows unsent after quiet time', 'rows unsent after quiet time']);
  });
});
