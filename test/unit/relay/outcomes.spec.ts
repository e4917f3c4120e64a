import { CONFIRMED, type FakeTransport, refused, UNREACHABLE } from '../support/fake-transport';
import { settled } from '../support/manual-clock';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';

/** The two ways in which a message comes into the relay's hands. */
const PATHS = ['fast path', 'resend'] as const;
type Path = (typeof PATHS)[number];

describe('what becomes of a message, by outcome and path', () => {
  let fixture: RelayFixture;

  function start(given: GivenRelay = {}): RelayFixture {
    fixture = new RelayFixture(given);
    return fixture;
  }

  async function bring(path: Path): Promise<string> {
    if (path === 'fast path') return (await fixture.publish({}))[0]!;
    const [id] = await fixture.insertDue({});
    fixture.relay.wake();
    await fixture.clock.advance(20);
    return id!;
  }

  function transport(): FakeTransport {
    return fixture.transport;
  }

  afterEach(() => fixture.stop());

  describe.each(PATHS)('%s', (path) => {
    it('confirmed: sent, once, and told', async () => {
      start();
      const id = await bring(path);
      await fixture.clock.advance(10);

      expect(fixture.statusOf(id)).toBe('sent');
      expect(transport().sentIds).toEqual([id]);
      const via = path === 'resend' ? 'resend' : 'fast-path';
      expect(fixture.eventsOf('message.sent')).toEqual([expect.objectContaining({ id, attempts: 1, via })]);
    });

    it('refused, to be tried again: one attempt, a back-off, then sent by the resend job', async () => {
      start();
      transport().answer = () => (transport().sent.length === 1 ? refused() : CONFIRMED);
      const id = await bring(path);
      await fixture.clock.advance(10);

      expect(fixture.database.row(id)).toMatchObject({
        status: 'pending',
        attempts: 1,
        error: 'no',
        token: null,
      });
      expect(fixture.eventsOf('message.retry')).toEqual([
        expect.objectContaining({ id, attempts: 1, retryInMs: 1_000, error: 'no' }),
      ]);
      await fixture.clock.advance(900);
      expect(transport().sent).toHaveLength(1);
      await fixture.clock.advance(200);
      expect(fixture.statusOf(id)).toBe('sent');
      expect(fixture.eventsOf('message.sent')).toEqual([
        expect.objectContaining({ attempts: 2, via: 'resend' }),
      ]);
    });

    it('refused for the last time: a dead letter, told once', async () => {
      start({ settings: { retry: { attemptsMax: 3 } } });
      transport().answer = () => refused();
      const id = await bring(path);
      await fixture.clock.advance(60_000);

      expect(fixture.database.row(id)).toMatchObject({ status: 'dead_letter', attempts: 3 });
      expect(transport().sent).toHaveLength(3);
      expect(fixture.eventsOf('message.deadLetter')).toEqual([
        expect.objectContaining({ id, attempts: 3, error: 'no' }),
      ]);
    });

    it('refused, not to be tried again: a dead letter at once', async () => {
      start();
      transport().answer = () => refused(false, 'cannot be read');
      const id = await bring(path);
      await fixture.clock.advance(10);

      expect(fixture.database.row(id)).toMatchObject({
        status: 'dead_letter',
        attempts: 1,
        error: 'cannot be read',
      });
      expect(fixture.namesOf('message.retry', 'message.deadLetter')).toEqual(['message.deadLetter']);
    });

    it('unreachable: no attempt, given back, and sent when the broker is back', async () => {
      start();
      transport().reachable = false;
      transport().answer = () => (transport().reachable ? CONFIRMED : UNREACHABLE);
      const id = await bring(path);
      await fixture.clock.advance(10);

      expect(fixture.database.row(id)).toMatchObject({
        status: 'pending',
        attempts: 0,
        token: null,
        claims: 0,
      });
      transport().reachable = true;
      await fixture.clock.advance(1_100);
      expect(fixture.statusOf(id)).toBe('sent');
      expect(fixture.namesOf('transport.down', 'transport.up')).toEqual(['transport.down', 'transport.up']);
    });

    it('never settled: sent again after the lease, and no attempt is spent', async () => {
      start();
      transport().answer = () => (transport().sent.length === 1 ? 'never' : CONFIRMED);
      const id = await bring(path);
      await fixture.clock.advance(29_000);
      expect(transport().sent).toHaveLength(1);
      transport().pending.clear();

      await fixture.clock.advance(12_000);
      expect(transport().sentIds).toEqual([id, id]);
      expect(fixture.database.row(id)).toMatchObject({ status: 'sent', attempts: 0 });
    });

    it('confirmed after the lease is lost and the row is due: still counts as sent', async () => {
      start();
      transport().answer = () => 'never';
      const id = await bring(path);
      fixture.relay.pause();
      await fixture.clock.advance(36_000);
      expect(fixture.statusOf(id)).toBe('pending');

      transport().settle(id);
      await fixture.clock.advance(10);
      expect(fixture.statusOf(id)).toBe('sent');
      expect(transport().sent).toHaveLength(1);
    });

    it('refused after another relay took the row: changes nothing', async () => {
      start();
      transport().answer = () => 'never';
      const id = await bring(path);
      fixture.database.row(id).token = 'somebody else';

      transport().settle(id, refused());
      await fixture.clock.advance(10);
      expect(fixture.database.row(id)).toMatchObject({ attempts: 0, token: 'somebody else' });
      expect(fixture.namesOf('message.retry', 'message.deadLetter')).toEqual([]);
    });

    it('an error text with control characters is written without them', async () => {
      start();
      transport().answer = () => refused(true, 'bad\u0000byte');
      const id = await bring(path);
      await fixture.clock.advance(10);
      expect(fixture.database.row(id).error).toBe('bad byte');
    });
  });

  it('a message that the transport throws on is refused alone, and the others of its batch are sent', async () => {
    start();
    transport().onSend = ({ type }) => {
      if (type === 'poison') throw new Error('cannot be encoded');
    };
    const ids = await fixture.publish({}, { type: 'poison' }, {});
    await fixture.clock.advance(10);

    expect(ids.map((id) => fixture.statusOf(id))).toEqual(['sent', 'pending', 'sent']);
    expect(fixture.database.row(ids[1]!)).toMatchObject({
      attempts: 1,
      error: 'The transport threw: cannot be encoded',
    });
  });

  it('listeners that throw or reject stop nothing', async () => {
    start();
    fixture.events.on('message.committed', () => {
      throw new Error('listener');
    });
    fixture.events.on('message.sent', () => Promise.reject(new Error('listener')) as never);
    const [id] = await fixture.publish({});
    await fixture.clock.advance(10);
    await settled();
    expect(fixture.statusOf(id!)).toBe('sent');
  });
});
