import { createTestDatabase, createVhost, type TestDatabase } from '../support/shared-servers';
import { runCampaign } from './campaign';
import type { ViolationKind } from './checker/facts';
import type { Fault, Step } from './plan';
import type { Breakage, KillPoint, MemberKind } from './protocol';

/** Each guarantee's fix, switched off, and what the checker must count then. */
const CAUGHT: Record<Breakage, ViolationKind> = {
  'the row is inserted after the commit': 'committed without message',
  'the row is inserted outside of the transaction': 'message without commit',
  'the inbox forgets': 'effects per message other than 1',
  'messages count as confirmed when they are sent': 'effects per message other than 1',
  'keys are ignored': 'order violations among first copies',
  'what is read ahead counts as sent': 'effects per message other than 1',
  'the alarm is silent': 'dead letters without alarm',
  'nothing is resent': 'rows unsent after quiet time',
  'a connection is never given back': 'leaked connections',
};

const CAMPAIGNS_MAX = 5;

const kill = (member: MemberKind, point: KillPoint, passages: number, which = 0): Fault => ({
  kind: 'kill at a point',
  member,
  which,
  point,
  passages,
});

/** A short plan that a sound build survives, and no broken one. While one producer starts again, the other has its faults. */
const FAULTS: readonly Fault[] = [
  kill('producer', 'after COMMIT, before the hand-over', 30),
  kill('consumer', "after a handler's commit, before the ack", 10),
  kill('producer', 'after the row is inserted', 10, 1),
  { kind: 'cut', member: 'producer', which: 0, link: 'broker' },
  kill('relay', 'after the send, before the confirmation', 3),
  kill('producer', 'after the send, before the confirmation', 20, 1),
  kill('relay', 'in a run, after a confirmation, before it is written down', 3),
  kill('producer', 'in a run, after a confirmation, before it is written down', 1),
  kill('relay', 'in a run, when a part of it is written down', 1),
  kill('consumer', "after a handler's commit, before the ack", 10),
  { kind: 'refuse', member: 'producer', which: 0, link: 'broker', ms: 500 },
];
const STEPS: readonly Step[] = FAULTS.map((fault) => ({ fault, pauseMs: 300 }));

describe('a campaign against a build', () => {
  let database: TestDatabase;

  beforeEach(async () => {
    database = await createTestDatabase('postgres');
  });
  afterEach(() => database.drop());

  async function violations(
    breakage: Breakage | null,
  ): Promise<{ kinds: Set<ViolationKind>; history: string }> {
    const { url } = await createVhost();
    const { violations, history } = await runCampaign({
      servers: {
        database: { type: 'postgres', url: database.url, own: null },
        broker: { url, own: null },
        syncTopology: () => Promise.resolve(),
        stop: () => Promise.resolve(),
      },
      seed: 20_150,
      steps: STEPS,
      isOver: () => false,
      checkEveryMs: 60_000,
      pace: { pauseMaxMs: 40, writers: 4 },
      size: { producer: 2, relay: 1, consumer: 1 },
      breakage,
      ...(breakage === null ? {} : { quietTimeoutMs: 3_000 }),
      progress: () => undefined,
    });
    return { kinds: new Set(violations.map(({ kind }) => kind)), history };
  }

  it('that is sound finds nothing', async () => {
    const { kinds, history } = await violations(null);
    expect({ kinds: [...kinds], history }).toEqual({ kinds: [], history: '' });
  }, 120_000);

  it.each(Object.entries(CAUGHT) as [Breakage, ViolationKind][])(
    'in which %s finds "%s"',
    async (breakage, kind) => {
      // A fault must meet the right moment: not in each short campaign on a slow machine.
      let found = await violations(breakage);
      for (let more = CAMPAIGNS_MAX - 1; more > 0 && !found.kinds.has(kind); more -= 1)
        found = await violations(breakage);
      expect([...found.kinds]).toContain(kind);
      expect(found.history).not.toBe('');
    },
    300_000,
  );
});
