import { randomUUID } from 'node:crypto';
import {
  DeadLetters,
  type Explanation,
  type Outbox,
  type PublishOptions,
  type TransportDefinition,
} from 'nestjs-outbox';

import { type Application, startApplication } from '../../peers-bugs/application';
import { createTestDatabase, type TestDatabase } from '../../support/shared-servers';
import { waitFor } from '../../support/wait-for';
import { CONFIRMED, FakeTransport, refused, UNREACHABLE } from '../../unit/support/fake-transport';

const HOUR_MS = 3_600_000;

/** A transport whose answers the test decides. */
function scripted(transport: FakeTransport): TransportDefinition {
  return {
    kind: 'scripted',
    destinationOf: (type) => type,
    orderScopeOf: () => '',
    create: () => transport,
  };
}

describe.each(['postgres', 'mysql'] as const)('explain() on %s', (type) => {
  let database: TestDatabase;
  /** Publishes and sends. */
  let shop: Application;
  /** Publishes only, and knows one transport more. */
  let site: Application;
  let broker: FakeTransport;

  beforeAll(async () => {
    database = await createTestDatabase(type);
    broker = new FakeTransport();
    shop = await startApplication({
      database,
      outbox: {
        transport: { main: scripted(broker) },
        // Nothing happens that a test does not ask for.
        relay: {
          intervalMs: HOUR_MS,
          idleIntervalMaxMs: HOUR_MS,
          sweepIntervalMs: HOUR_MS,
          listen: false,
          probeIntervalMs: HOUR_MS,
        },
        retry: { delayMs: HOUR_MS, delayMaxMs: HOUR_MS },
      },
    });
    site = await startApplication({
      database,
      outbox: {
        role: 'publisher',
        transport: { main: scripted(new FakeTransport()), audit: scripted(new FakeTransport()) },
      },
    });
  });

  afterEach(async () => {
    broker.answer = () => CONFIRMED;
    broker.reachable = true;
    broker.hint('up');
    shop.relay.resume();
    broker.settleAll();
    await shop.relay.flush();
    await query(`DELETE FROM outbox_message`);
  });

  afterAll(async () => {
    await shop?.context.close();
    await site?.context.close();
    await database?.drop();
  });

  const query = (sql: string): Promise<unknown> => shop.dataSource.query(sql);
  const publish = (options: PublishOptions = {}, { outbox }: { outbox: Outbox } = shop): Promise<string> =>
    outbox.transaction(() => outbox.publish('order.placed', { id: '1' }, options));
  const explain = (id: string, { relay } = shop): Promise<Explanation> => relay.explain(id);
  /** The first explanation with that reason: what the relay does after a commit takes its time. */
  const explained = (id: string, reason: Explanation['reason']): Promise<Explanation> =>
    waitFor(
      async () => {
        const explanation = await explain(id);
        return explanation.reason === reason ? explanation : undefined;
      },
      { what: `the reason ${reason}` },
    );

  it('not-found: no such row', async () => {
    const id = randomUUID();
    expect(await explain(id)).toMatchObject({ reason: 'not-found', id });
    expect(await explain('nonsense')).toMatchObject({ reason: 'not-found', id: 'nonsense' });
  });

  it('transaction-open: to the process that published it; another one cannot see it', async () => {
    const id = await site.outbox.transaction(
      async () => {
        const staged = await site.outbox.publish('order.placed', {});
        expect(await explain(staged, site)).toMatchObject({
          reason: 'transaction-open',
          transaction: 'placing an order',
          text: expect.stringContaining('is still open: placing an order.'),
        });
        expect(await explain(staged)).toMatchObject({
          reason: 'not-found',
          text: expect.stringContaining('Its transaction may still be open in another process'),
        });
        return staged;
      },
      { name: 'placing an order' },
    );
    expect(await explain(id, site)).toMatchObject({ reason: 'due', message: { id } });
  });

  it('transaction-open: of a transaction that the application opened; and not after its rollback', async () => {
    const { dataSource, outbox } = shop;
    const ids: string[] = [];
    const failing = dataSource.transaction(async (manager) => {
      ids.push(await outbox.publish('order.placed', {}, { manager }));
      await manager
        .transaction(async (savepoint) => {
          ids.push(await outbox.publish('order.placed', {}, { manager: savepoint }));
          expect(await explain(ids[1]!)).toMatchObject({ reason: 'transaction-open' });
          throw new Error('savepoint');
        })
        .catch(() => undefined);
      expect(await explain(ids[0]!)).toMatchObject({ reason: 'transaction-open' });
      expect(await explain(ids[1]!)).toMatchObject({ reason: 'not-found' });
      throw new Error('declined');
    });
    await expect(failing).rejects.toThrow('declined');
    for (const id of ids) expect(await explain(id)).toMatchObject({ reason: 'not-found' });
  });

  it('sent, and what a later version makes of it', async () => {
    const id = await publish();
    expect(await explained(id, 'sent')).toMatchObject({ at: expect.any(Date), message: { status: 'sent' } });
    await query(`UPDATE outbox_message SET status = 'consumed' WHERE id = '${id}'`);
    expect(await explain(id)).toMatchObject({ reason: 'consumed', at: expect.any(Date) });
    await query(`UPDATE outbox_message SET status = 'prepared' WHERE id = '${id}'`);
    expect(await explain(id)).toMatchObject({ reason: 'prepared' });
  });

  it('dead-letter and parked: with the error, since when, how many wait, and which one holds them', async () => {
    broker.answer = () => refused(false, 'NOT_FOUND: no exchange');
    const dead = await publish({ key: 'k' });
    await explained(dead, 'dead-letter');
    const waiting = [await publish({ key: 'k' }), await publish({ key: 'k' })];
    expect(await explain(dead)).toMatchObject({
      reason: 'dead-letter',
      error: 'NOT_FOUND: no exchange',
      since: expect.any(Date),
      waiting: 2,
      text: expect.stringMatching(
        /after 1 attempt: NOT_FOUND: no exchange\. It holds its key 'k': 2 later messages behind it wait\. Put the cause right/,
      ),
    });
    const parked = await explain(waiting[1]!);
    expect(parked).toMatchObject({
      reason: 'parked',
      holder: { id: dead, lastError: 'NOT_FOUND: no exchange', status: 'dead_letter' },
      ahead: 2,
      text: expect.stringContaining(`redrive('${dead}')`),
    });
    expect(await shop.relay.stats()).toMatchObject({ parkedKeys: 1, parked: 2, blocked: 2, deadLetters: 1 });
    const letters = shop.context.get(DeadLetters);
    const page = await letters.list({ parking: true });
    expect(page).toMatchObject({ items: [{ id: dead, waiting: 2 }], next: null });

    // All of it is fit for JSON, as an HTTP handler returns it.
    expect(JSON.parse(JSON.stringify(page))).toMatchObject({
      items: [{ id: dead, seq: page.items[0]!.seq }],
    });
    expect(JSON.parse(JSON.stringify(parked))).toMatchObject({ holder: { id: dead } });

    broker.answer = () => CONFIRMED;
    await letters.discard(dead);
    expect(await explain(dead)).toMatchObject({ reason: 'cancelled', at: expect.any(Date) });
    await explained(waiting[1]!, 'sent');
  });

  it('leased and behind: by which instance, and the first message of the key', async () => {
    broker.answer = () => 'never';
    const head = await publish({ key: 'k' });
    const [second, third] = [await publish({ key: 'k' }), await publish({ key: 'k' })];
    const leased = { reason: 'leased', by: expect.stringContaining(`:${process.pid}:`) };
    // Where the isolation is strict, it is taken only after its commit.
    expect(await explained(head, 'leased')).toMatchObject({
      ...leased,
      isThisProcess: true,
      transport: 'open',
    });
    const seenElsewhere = await explain(head, site);
    expect(seenElsewhere).toMatchObject({ ...leased, isThisProcess: false, transport: 'idle' });
    expect((seenElsewhere as { leaseLeftMs: number }).leaseLeftMs).toBeGreaterThan(0);
    expect((seenElsewhere as { leaseLeftMs: number }).leaseLeftMs).toBeLessThanOrEqual(30_000);
    expect(await explain(second)).toMatchObject({ reason: 'behind', holder: { id: head }, ahead: 1 });
    expect(await explain(third)).toMatchObject({
      reason: 'behind',
      holder: { id: head, status: 'pending' },
      ahead: 2,
      text: `2 earlier messages of its key 'k' must go first. explain('${head}') tells what the first of them waits for.`,
    });
  });

  it('backing-off: attempts, last error, and when the next one is due', async () => {
    broker.answer = () => refused(true, 'NO_ROUTE');
    const explanation = await explained(await publish(), 'backing-off');
    expect(explanation).toMatchObject({ error: 'NO_ROUTE', message: { attempts: 1 }, transport: 'open' });
    const { dueInMs } = explanation as { dueInMs: number };
    expect(dueInMs).toBeGreaterThan(HOUR_MS / 2);
    expect(dueInMs).toBeLessThanOrEqual(HOUR_MS);
  });

  it('delayed, and expired', async () => {
    shop.relay.pause();
    const delayed = await explain(await publish({ delayMs: 60_000 }));
    expect(delayed).toMatchObject({ reason: 'delayed', error: null, transport: 'paused' });
    expect((delayed as { dueInMs: number }).dueInMs).toBeGreaterThan(30_000);
    const id = await publish({ expiresInMs: 1 });
    expect(await explained(id, 'expired')).toMatchObject({
      text: expect.stringMatching(/^It expired .* ago, unsent\. The next sweep of a relay/),
    });
    await query(`DELETE FROM outbox_message`);
  });

  it('transport-paused, transport-unreachable, transport-unknown: of this process; and due elsewhere', async () => {
    shop.relay.pause('main');
    const id = await publish();
    expect(await explain(id)).toMatchObject({ reason: 'transport-paused', transport: 'paused' });
    expect(await explain(id, site)).toMatchObject({ reason: 'due', transport: 'idle', dueInMs: 0 });
    broker.answer = () => UNREACHABLE;
    broker.reachable = false;
    broker.hint('down', 'ECONNREFUSED');
    shop.relay.resume();
    expect(await explain(id)).toMatchObject({ reason: 'transport-unreachable', transport: 'unreachable' });
    broker.reachable = true;
    broker.answer = () => CONFIRMED;
    broker.hint('up');
    await explained(id, 'sent');
    const audit = await publish({ transport: 'audit' }, site);
    expect(await explain(audit)).toMatchObject({ reason: 'transport-unknown', transport: 'unknown' });
  });

  it('promotion and quarantine: what the next sweep is for', async () => {
    shop.relay.pause();
    const head = await publish({ key: 'k' });
    const second = await publish({ key: 'k' });
    // As a crash leaves it behind: the first one is through, and nobody looked for the next.
    await query(`UPDATE outbox_message SET status = 'sent' WHERE id = '${head}'`);
    // Whoever published it may be just looking whether it is its turn: then it is pending again before we have looked.
    const waiting = await waitFor(async () => {
      await query(`UPDATE outbox_message SET status = 'blocked' WHERE id = '${second}'`);
      const explanation = await explain(second);
      return explanation.reason === 'promotion' ? explanation : null;
    });
    expect(waiting).toMatchObject({ reason: 'promotion', message: { status: 'blocked' } });
    const poison = await publish();
    await query(`UPDATE outbox_message SET claims = 5 WHERE id = '${poison}'`);
    expect(await explain(poison)).toMatchObject({
      reason: 'quarantine',
      text: expect.stringContaining('taken for sending 5 times without any outcome'),
    });
    await query(`DELETE FROM outbox_message`);
  });
});
