import { DeadLetters } from '../../../lib/dead-letter/dead-letters';
import { CONFIRMED, refused } from '../support/fake-transport';
import { FakeDeadLetterStore } from '../support/fake-dead-letter-store';
import { settled } from '../support/manual-clock';
import { RelayFixture } from '../support/relay-fixture';

const DAY_MS = 86_400_000;
const SELDOM = { intervalMs: DAY_MS, idleIntervalMaxMs: DAY_MS, sweepIntervalMs: DAY_MS };

describe('DeadLetters', () => {
  let fixture: RelayFixture;
  let deadLetters: DeadLetters;

  beforeEach(() => {
    fixture = new RelayFixture({
      settings: { retry: { attemptsMax: 1 }, relay: SELDOM, retention: { intervalMs: DAY_MS } },
    });
    fixture.transport.answer = () => refused();
    deadLetters = new DeadLetters({
      store: new FakeDeadLetterStore(fixture.database),
      outbox: fixture.store,
      relay: fixture.relay,
      events: fixture.events,
      clock: fixture.clock,
      inboxMs: 14 * DAY_MS,
    });
  });

  afterEach(() => fixture.stop());

  async function kill(...messages: Parameters<RelayFixture['publish']>): Promise<string[]> {
    const ids = await fixture.publish(...messages);
    await fixture.clock.advance(20);
    fixture.transport.answer = () => CONFIRMED;
    return ids;
  }

  it('lists page by page, counts, and shows one with its payload', async () => {
    const ids = await kill(...Array.from({ length: 5 }, () => ({})));
    const first = await deadLetters.list({}, { limit: 3 });
    const second = await deadLetters.list({}, { limit: 3, after: first.next! });
    expect([...first.items, ...second.items].map(({ id }) => id)).toEqual(ids);
    expect(second.next).toBeNull();
    expect(await deadLetters.count()).toBe(5);
    expect((await deadLetters.get(ids[0]!))?.payload).toBeInstanceOf(Buffer);
    expect(await deadLetters.get('nobody')).toBeNull();
  });

  it('redrives one by its id, at once, and tells so', async () => {
    const [first, second] = await kill({}, {});
    const told: string[] = [];
    fixture.events.on('message.redriven', ({ id }) => told.push(id));
    expect(await deadLetters.redrive(first!)).toEqual({ ids: [first], count: 1, warning: null });
    await fixture.clock.advance(50);
    expect(fixture.statusOf(first!)).toBe('sent');
    expect(fixture.statusOf(second!)).toBe('dead_letter');
    expect(told).toEqual([first]);
  });

  it.each([
    ['all that fit', {}, 7],
    ['not more than the limit, the oldest', { limit: 3 }, 3],
    ['none in a dry run, and names them', { dryRun: true }, 7],
    ['none in a dry run with a limit', { dryRun: true, limit: 2 }, 2],
  ])('redrives by a filter: %s', async (_, options, count) => {
    const ids = await kill(...Array.from({ length: 7 }, () => ({ type: 'a' })), { type: 'b' });
    const result = await deadLetters.redrive({ type: 'a' }, options);
    expect(result).toEqual({ ids: ids.slice(0, count), count, warning: null });
    await fixture.clock.advance(50);
    const sent = ids.filter((id) => fixture.statusOf(id) === 'sent');
    expect(sent).toEqual('dryRun' in options ? [] : ids.slice(0, count));
  });

  it('redrives very many in small batches, each once, even when they die again at once', async () => {
    await kill(...Array.from({ length: 1_100 }, () => ({})));
    fixture.transport.answer = () => refused();
    fixture.database.after = async (statement) => {
      if (statement !== 'redrive') return;
      // Between two batches, what the first one moved is dead once more.
      for (const row of fixture.database.rows) if (row.status === 'pending') row.status = 'dead_letter';
      await settled(1);
    };
    const { count } = await deadLetters.redrive({});
    expect(count).toBe(1_100);
    expect(fixture.count('redrive')).toBe(3);
    fixture.database.after = () => undefined;
  });

  it('warns when a redriven message is older than any inbox remembers, also in a dry run', async () => {
    const [id] = await kill({});
    await fixture.clock.advance(15 * DAY_MS);
    const dry = await deadLetters.redrive({}, { dryRun: true });
    expect(dry.warning).toMatch(new RegExp(`${id}.* is 15 days old, and inboxes remember 14 days`));
    expect((await deadLetters.redrive({})).warning).toBe(dry.warning);
  });

  it('discards: cancelled for good, told, and what the key parked goes on', async () => {
    const ids = await kill({ key: 'k' }, { key: 'k' });
    expect(ids.map((id) => fixture.statusOf(id))).toEqual(['dead_letter', 'blocked']);
    const told: string[] = [];
    fixture.events.on('message.discarded', ({ id }) => told.push(id));
    expect(await deadLetters.discard(ids[0]!, { dryRun: true })).toMatchObject({ count: 1 });
    expect(fixture.statusOf(ids[0]!)).toBe('dead_letter');

    expect(await deadLetters.discard(ids[0]!)).toEqual({ ids: [ids[0]], count: 1, warning: null });
    await fixture.clock.advance(50);
    expect(ids.map((id) => fixture.statusOf(id))).toEqual(['cancelled', 'sent']);
    expect(told).toEqual([ids[0]]);
  });

  it('moves nothing that is not dead', async () => {
    fixture.transport.answer = () => CONFIRMED;
    const [sent] = await fixture.publish({});
    await fixture.clock.advance(20);
    expect(await deadLetters.redrive(sent!)).toEqual({ ids: [], count: 0, warning: null });
    expect(await deadLetters.discard('nobody')).toEqual({ ids: [], count: 0, warning: null });
  });
});
