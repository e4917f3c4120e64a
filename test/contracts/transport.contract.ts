import type { ClaimedMessage } from '../../lib/core/message';
import type { Transport } from '../../lib/core/transport.port';
import { PATIENCE } from '../support/patience';
import { waitFor } from '../support/wait-for';
import { Outcomes, claimedMessages, stateOf } from './transport.fixtures';

/** A fresh transport and where its messages arrive. */
export interface TransportUnderTest {
  /** Not started yet; the suite stops it. */
  readonly transport: Transport;
  /** A message that can be delivered. */
  readonly message: Partial<ClaimedMessage>;
  /** The ids of what has arrived, in that order. */
  readonly arrived: readonly string[];
  /** The way to the broker, for transports whose broker is elsewhere. Their `sendTimeoutMs` must be 2000 at most. */
  readonly network: Network | null;
  close(): Promise<void>;
}

export interface Network {
  goAway(): Promise<void>;
  comeBack(): Promise<void>;
  /** Holds back what is sent, with no connection closed. */
  stall(): void;
  resume(): void;
}

/** What every transport must do, whatever it sends to. `away` says whether there is a broker that can go away. */
export function transportContract(away: boolean, make: () => Promise<TransportUnderTest>): void {
  let subject: TransportUnderTest;
  let transport: Transport;
  let outcomes: Outcomes;
  const messages = (count: number) => claimedMessages(count, subject.message);
  /** A broker that is slow to answer does not hold up the start for long. */
  const start = async () => {
    await transport.start();
    await waitFor(() => transport.probe());
  };
  const arrivedOf = (some: readonly ClaimedMessage[]) => {
    const ids = new Set(some.map(({ id }) => id));
    return subject.arrived.filter((id) => ids.has(id));
  };

  beforeEach(async () => {
    subject = await make();
    transport = subject.transport;
    outcomes = new Outcomes(transport);
  });

  afterEach(async () => {
    await transport.stop();
    await subject.close();
  });

  it('confirms each message exactly once, and delivers it', async () => {
    await start();
    const sent = messages(50);
    await outcomes.sendAndSettle(sent);
    expect(outcomes.kinds(sent)).toEqual(['confirmed']);
    await waitFor(() => arrivedOf(sent).length === sent.length);
    expect(outcomes.all).toHaveLength(sent.length);
  });

  it('settles nothing before send has returned', async () => {
    let returned = false;
    const early: string[] = [];
    const send = (some: readonly ClaimedMessage[]) => {
      returned = false;
      transport.send(some, ({ id }) => {
        if (!returned) early.push(id);
        settled.add(id);
      });
      returned = true;
    };
    const settled = new Set<string>();
    const [first, second, third] = [messages(5), messages(5), messages(5)];
    send(first);
    await start();
    send(second);
    await waitFor(() => second.every(({ id }) => settled.has(id)));
    await transport.stop();
    send(third);
    await waitFor(() => third.every(({ id }) => settled.has(id)));
    expect(early).toEqual([]);
    expect(settled.size).toBe(15);
  });

  it('keeps the order of one batch and of successive batches', async () => {
    await start();
    const sent = messages(200);
    for (let index = 0; index < sent.length; index += 20) outcomes.send(sent.slice(index, index + 20));
    await outcomes.settled(sent);
    await waitFor(() => arrivedOf(sent).length === sent.length);
    expect(arrivedOf(sent)).toEqual(sent.map(({ id }) => id));
  });

  it('takes a second batch while the first has no outcome, with settle functions of their own', async () => {
    await start();
    const [first, second] = [messages(20), messages(20)];
    const other = new Outcomes(transport);
    outcomes.send(first);
    other.send(second);
    await outcomes.settled(first);
    await other.settled(second);
    expect(outcomes.kinds(first)).toEqual(['confirmed']);
    expect(other.kinds(second)).toEqual(['confirmed']);
    expect(outcomes.all).toHaveLength(20);
    expect(other.all).toHaveLength(20);
  });

  it('answers unreachable before its start and after its stop, and delivers none of it', async () => {
    const before = messages(2);
    await outcomes.sendAndSettle(before);
    await start();
    const between = messages(1);
    await outcomes.sendAndSettle(between);
    await transport.stop();
    await transport.stop();
    const after = messages(2);
    await outcomes.sendAndSettle(after);
    expect(outcomes.kinds([...before, ...after])).toEqual(['unreachable']);
    expect(outcomes.kinds(between)).toEqual(['confirmed']);
    expect(arrivedOf([...before, ...after])).toEqual([]);
  });

  it('settles the rest when it stops', async () => {
    await start();
    const sent = messages(100);
    outcomes.send(sent);
    await transport.stop();
    await outcomes.settled(sent);
    for (const message of sent) expect(['confirmed', 'unreachable']).toContain(outcomes.of(message).kind);
    expect(outcomes.all).toHaveLength(sent.length);
  });

  it('says by probe whether it could send', async () => {
    expect(await transport.probe()).toBe(false);
    await start();
    expect(await transport.probe()).toBe(true);
    await transport.stop();
    expect(await transport.probe()).toBe(false);
  });

  it('sends empty and large payloads as they are', async () => {
    await start();
    const sent = [
      ...claimedMessages(2, { ...subject.message, payload: Buffer.alloc(0) }),
      ...claimedMessages(1, { ...subject.message, payload: Buffer.alloc(3_000_000, 'x') }),
    ];
    await outcomes.sendAndSettle(sent);
    await waitFor(() => arrivedOf(sent).length === sent.length);
  });

  if (!away) return;

  it('starts at once while the broker is away, and sends when it is there', async () => {
    await subject.network!.goAway();
    const startedAt = performance.now();
    await transport.start();
    expect(performance.now() - startedAt).toBeLessThan(2_000 * PATIENCE);
    expect(await transport.probe()).toBe(false);
    const early = messages(3);
    await outcomes.sendAndSettle(early);
    expect(outcomes.kinds(early)).toEqual(['unreachable']);

    const up = stateOf(transport, 'up');
    await subject.network!.comeBack();
    await up;
    expect(await transport.probe()).toBe(true);
    const later = messages(3);
    await outcomes.sendAndSettle(later);
    expect(outcomes.kinds(later)).toEqual(['confirmed']);
    await waitFor(() => arrivedOf(later).length === later.length);
    expect(arrivedOf(early)).toEqual([]);
  });

  it('answers unreachable at once when the broker is gone, and sends nothing of it later', async () => {
    await start();
    const down = stateOf(transport, 'down');
    await subject.network!.goAway();
    await down;
    const during = messages(50);
    outcomes.send(during);
    await new Promise((resolve) => setImmediate(resolve));
    expect(outcomes.kinds(during)).toEqual(['unreachable']);

    const up = stateOf(transport, 'up');
    await subject.network!.comeBack();
    await up;
    const marker = messages(1);
    await outcomes.sendAndSettle(marker);
    await waitFor(() => arrivedOf(marker).length === 1);
    expect(arrivedOf(during)).toEqual([]);
  });

  it('settles what a broker does not answer within its time limit, and never sends it late', async () => {
    await start();
    const { sendTimeoutMs } = transport.capabilities;
    subject.network!.stall();
    // More than sockets hold: most of it never leaves the process.
    const stuck = claimedMessages(300, { ...subject.message, payload: Buffer.alloc(200_000, 'x') });
    const sentAt = performance.now();
    await outcomes.sendAndSettle(stuck, sendTimeoutMs + 2_000);
    expect(performance.now() - sentAt).toBeGreaterThanOrEqual(sendTimeoutMs - 5);
    expect(outcomes.kinds(stuck)).toEqual(['unreachable']);

    const up = stateOf(transport, 'up');
    subject.network!.resume();
    await up;
    const marker = messages(1);
    await outcomes.sendAndSettle(marker);
    expect(outcomes.kinds(marker)).toEqual(['confirmed']);
    await waitFor(() => arrivedOf(marker).length === 1);
    const late = arrivedOf(stuck);
    // What the sockets held may arrive; once. What they did not hold must not.
    expect(late.length).toBeLessThan(stuck.length / 2);
    expect(new Set(late).size).toBe(late.length);
    expect(outcomes.all).toHaveLength(stuck.length + marker.length);
  });
}
