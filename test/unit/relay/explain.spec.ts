import type { Explanation } from '../../../lib/core/explanation';
import type { StagedMessage } from '../../../lib/core/message';
import { FakeTransport, refused, UNREACHABLE } from '../support/fake-transport';
import { type GivenRelay, RelayFixture } from '../support/relay-fixture';
import { stagedMessage } from '../support/staged-message';

const DAY_MS = 86_400_000;
/** Nothing looks at the table by itself. */
const SELDOM = { intervalMs: DAY_MS, idleIntervalMaxMs: DAY_MS, sweepIntervalMs: DAY_MS };

/** What depends on this process; what depends on the row is tried on real databases, too. */
describe('explain()', () => {
  let fixture: RelayFixture;
  const others: RelayFixture[] = [];

  function start(given: GivenRelay = {}): void {
    fixture = new RelayFixture({ settings: { relay: SELDOM, retry: { attemptsMax: 3 } }, ...given });
  }
  function another(given: GivenRelay): RelayFixture {
    const other = new RelayFixture({ settings: { relay: SELDOM }, database: fixture.database, ...given });
    others.push(other);
    return other;
  }
  /** Committed elsewhere, and due. */
  async function insert(given: Partial<StagedMessage> = {}): Promise<string> {
    return (await fixture.insertDue(given))[0]!;
  }
  const explain = (id: string): Promise<Explanation> => fixture.relay.explain(id);

  afterEach(async () => {
    for (const each of [...others.splice(0), fixture]) await each.stop();
  });

  it('knows nothing of an id that no committed row has', async () => {
    start();
    const staged = stagedMessage();
    const commit = await fixture.prepare([staged]);
    expect(await explain(staged.id)).toMatchObject({
      reason: 'not-found',
      id: staged.id,
      text: expect.stringMatching(/may still be open in another process .* or was rolled back; or .* purged/),
    });
    commit();
  });

  it('names the transaction of this process that it is staged in; once there is a row, the row counts', async () => {
    const staged = stagedMessage();
    start({
      dependencies: { stagedIn: (id) => (id === staged.id ? 'OrdersService.place' : null) },
    });
    fixture.transport.answer = () => 'never';
    const commit = await fixture.prepare([staged]);
    expect(await explain(staged.id.toUpperCase())).toEqual({
      reason: 'transaction-open',
      id: staged.id,
      transaction: 'OrdersService.place',
      text: expect.stringMatching(/still open: OrdersService.place\. It is sent when that commits/),
    });
    commit();
    expect(await explain(staged.id)).toMatchObject({ reason: 'leased', message: { status: 'pending' } });
  });

  it('tells a lease of this process from one of another', async () => {
    start();
    fixture.transport.answer = () => 'never';
    const [id] = await fixture.publish({});
    await fixture.clock.advance(10_000);
    const { owner } = fixture.database.row(id!);
    const leased = { reason: 'leased', by: owner, leaseLeftMs: 20_000, transport: 'open' };
    expect(await explain(id!)).toMatchObject({
      ...leased,
      isThisProcess: true,
      text: 'This process holds it and is sending it. Unless it is sent before, or the lease renewed, any relay may take it in 20 s.',
    });
    const other = another({});
    expect(await other.relay.explain(id!)).toMatchObject({
      ...leased,
      isThisProcess: false,
      text: expect.stringContaining(`The instance ${owner} holds it and is sending it, or has died.`),
    });
  });

  it('tells a lease that is over, to a process that does not send', async () => {
    start();
    const gone = another({});
    gone.transport.answer = () => 'never';
    const [id] = await gone.publish({});
    fixture.relay.pause();
    gone.relay.pause();
    fixture.database.row(id!).nextAttemptMs = fixture.database.nowMs - 5_000;
    fixture.relay.resume();
    expect(await another({ settings: { role: 'publisher' } }).relay.explain(id!)).toMatchObject({
      reason: 'due',
      dueInMs: 0,
      transport: 'idle',
      text: expect.stringMatching(
        /due for 5 s \(the lease of process-\w+ is over\).* This process does not send/,
      ),
    });
  });

  it('tells a back-off with the last error, and what is wrong besides', async () => {
    start();
    fixture.transport.answer = () => refused(true, 'NO_ROUTE');
    const [id] = await fixture.publish({});
    await fixture.clock.advance(100);
    fixture.relay.pause('main');
    expect(await explain(id!)).toMatchObject({
      reason: 'backing-off',
      error: 'NO_ROUTE',
      dueInMs: expect.any(Number),
      message: { attempts: 1 },
      transport: 'paused',
      text: expect.stringMatching(
        /^It was refused after 1 attempt, the last time: NO_ROUTE\. The next one is due in \d+ ms\. Besides, its transport 'main' is paused in this process\.$/,
      ),
    });
  });

  it('tells a message that was given back unsent', async () => {
    start();
    const id = await insert();
    Object.assign(fixture.database.row(id), { nextAttemptMs: fixture.database.nowMs + 90_000 });
    expect(await explain(id)).toMatchObject({
      reason: 'backing-off',
      error: null,
      text: 'A relay gave it back unsent, and it may be taken again in 90 s.',
    });
  });

  it.each([
    ['paused', 'transport-paused', /until resume\('main'\)\. Relays in other processes may send it/],
    ['unreachable', 'transport-unreachable', /does not answer this process, which probes it/],
  ] as const)('tells a transport that is %s in this process', async (state, reason, text) => {
    start();
    const id = await insert();
    if (state === 'paused') fixture.relay.pause('main');
    else {
      Object.assign(fixture.transport, { reachable: false, answer: () => UNREACHABLE });
      fixture.transport.hint('down', 'ECONNREFUSED');
    }
    expect(await explain(id)).toMatchObject({ reason, transport: state, text: expect.stringMatching(text) });
    expect(await explain(await insert({ delayMs: 5_000 }))).toMatchObject({
      reason: 'delayed',
      dueInMs: 5_000,
      transport: state,
      text: `It was published with a delay, and is due in 5 s. Besides, its transport 'main' is ${state} in this process.`,
    });
  });

  it('tells a transport that this process does not have', async () => {
    start({ transports: { main: new FakeTransport() } });
    expect(await explain(await insert({ transport: 'audit' }))).toMatchObject({
      reason: 'transport-unknown',
      transport: 'unknown',
      text: expect.stringContaining(
        `has no transport named 'audit': a relay that has one must run elsewhere`,
      ),
    });
  });

  it.each([
    ['a publisher', { settings: { role: 'publisher' } }],
    ['a process that is not started yet', { started: false }],
  ] as const)('says so in %s', async (_, given) => {
    start(given);
    expect(await explain(await insert())).toMatchObject({
      reason: 'due',
      transport: 'idle',
      text: expect.stringContaining(
        'This process does not send, so that is one elsewhere: see that it runs.',
      ),
    });
  });

  it('tells a row that ends whoever sends it, by the limit of this process', async () => {
    start({ settings: { relay: SELDOM, retry: { claimsMax: 3 } } });
    const id = await insert();
    fixture.database.row(id).claims = 3;
    expect(await explain(id)).toMatchObject({
      reason: 'quarantine',
      text: expect.stringMatching(/taken for sending 3 times without any outcome/),
    });
  });

  it('shows no reason of memory when the database does not answer', async () => {
    start({ dependencies: { stagedIn: () => 'somewhere' } });
    fixture.database.before = (statement) => {
      if (statement === 'inspect') throw new Error('connection refused');
    };
    await expect(explain('x')).rejects.toThrow('connection refused');
  });
});
