import {
  type Circumstances,
  decide,
  type FailureLimits,
} from '../../../lib/idempotency/rabbitmq/failure-policy';

const limits: FailureLimits = { attemptsMax: 4, retryDelaysMs: [100, 200] };
const verdict = (given: Partial<Circumstances>) =>
  decide(
    {
      nature: 'failed',
      tally: { attempts: 0, waits: 0 },
      canDelay: true,
      holds: 0,
      heldLongEnough: false,
      ...given,
    },
    limits,
  );

describe('what becomes of a message that', () => {
  it('failed: a delayed retry by its attempt, the last delay repeating, and then the dead-letter queue', () => {
    const tallies = [0, 1, 2, 3].map((attempts) => verdict({ tally: { attempts, waits: 5 } }));
    expect(tallies).toEqual([
      { kind: 'delay', delayMs: 100, tally: { attempts: 1, waits: 5 } },
      { kind: 'delay', delayMs: 200, tally: { attempts: 2, waits: 5 } },
      { kind: 'delay', delayMs: 200, tally: { attempts: 3, waits: 5 } },
      { kind: 'deadLetter', tally: { attempts: 4, waits: 5 } },
    ]);
  });

  it('cannot leave its place: the same, held there', () => {
    expect(verdict({ canDelay: false })).toEqual({
      kind: 'hold',
      delayMs: 100,
      tally: { attempts: 1, waits: 0 },
    });
    expect(verdict({ canDelay: false, tally: { attempts: 3, waits: 0 } }).kind).toBe('deadLetter');
    expect(verdict({ canDelay: false, nature: 'busy' })).toEqual({
      kind: 'hold',
      delayMs: 100,
      tally: { attempts: 0, waits: 1 },
    });
  });

  it('was refused: the dead-letter queue at once', () => {
    expect(verdict({ nature: 'refused' })).toEqual({ kind: 'deadLetter', tally: { attempts: 1, waits: 0 } });
  });

  it('met a concurrent one: put off without an attempt, at growing distances', () => {
    expect(verdict({ nature: 'busy', tally: { attempts: 3, waits: 0 } })).toEqual({
      kind: 'delay',
      delayMs: 100,
      tally: { attempts: 3, waits: 1 },
    });
    expect(verdict({ nature: 'busy', tally: { attempts: 3, waits: 7 } })).toMatchObject({ delayMs: 200 });
  });

  it('met concurrent ones a hundred times: its own failure', () => {
    expect(verdict({ nature: 'busy', tally: { attempts: 0, waits: 99 } })).toMatchObject({
      tally: { attempts: 0, waits: 100 },
    });
    expect(verdict({ nature: 'busy', tally: { attempts: 0, waits: 100 } })).toMatchObject({
      tally: { attempts: 1, waits: 100 },
    });
    expect(verdict({ nature: 'busy', tally: { attempts: 3, waits: 100 } }).kind).toBe('deadLetter');
  });

  it('found the database away: held, at distances that double up to half a minute, without an attempt', () => {
    const held = [0, 1, 2, 4, 5, 50].map((holds) =>
      verdict({ nature: 'unavailable', holds, tally: { attempts: 3, waits: 0 } }),
    );
    expect(held.map(({ kind }) => kind)).toEqual(Array(6).fill('hold'));
    expect(held.map((each) => (each.kind === 'hold' ? each.delayMs : 0))).toEqual([
      1_000, 2_000, 4_000, 16_000, 30_000, 30_000,
    ]);
    expect(held.map(({ tally }) => tally.attempts)).toEqual(Array(6).fill(3));
  });

  it('was held for long: put off without an attempt, unless it must keep its place', () => {
    const circumstances = {
      nature: 'unavailable',
      heldLongEnough: true,
      tally: { attempts: 3, waits: 0 },
    } as const;
    expect(verdict(circumstances)).toEqual({ kind: 'delay', delayMs: 100, tally: { attempts: 3, waits: 0 } });
    expect(verdict({ ...circumstances, canDelay: false }).kind).toBe('hold');
  });
});
