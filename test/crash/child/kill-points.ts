import { createRequire } from 'node:module';

import type { StatementRunner } from '../../../lib/core/statement-runner';
import type { OutboxAssembly } from '../../../lib/outbox.assembly';
import type { KillPoint } from '../protocol';
import type { Journal } from './journal';

/** Loads what the drivers do not declare as theirs to give. */
const load = createRequire(__filename);

interface Armed {
  readonly point: KillPoint;
  passages: number;
}

/** Kills this process at a named line, as a power failure would, once it is told to. */
export class KillPoints {
  private armed: Armed | null = null;

  constructor(private readonly journal: Journal) {}

  arm(point: KillPoint, passages: number): void {
    this.armed = { point, passages };
  }

  disarm(): void {
    this.armed = null;
  }

  /** Marks the line. Does not come back from it when its time has come. */
  readonly pass = (point: KillPoint): void => {
    if (this.counts(point)) this.die(point);
  };

  /** As `pass`, for a line where something must get out first: the process dies before it can do anything else. */
  readonly passNextTurn = (point: KillPoint): void => {
    if (this.counts(point)) setImmediate(() => this.die(point));
  };

  /** Whether it is to die there, at this passage or a later one. */
  isArmed(point: KillPoint): boolean {
    return this.armed?.point === point;
  }

  private counts(point: KillPoint): boolean {
    if (this.armed?.point !== point) return false;
    this.armed.passages -= 1;
    return this.armed.passages <= 0;
  }

  private die(point: KillPoint): never {
    this.journal.write({ did: 'die', point });
    process.kill(process.pid, 'SIGKILL');
    // The signal arrives while this line is reached; nothing after it may run.
    for (;;);
  }
}

/** Marks the lines of the outbox itself. */
export function installKillPoints(
  killPoints: KillPoints,
  { stores, relay, transports }: OutboxAssembly,
): void {
  const { pass, passNextTurn } = killPoints;
  const { outbox: store } = stores;
  const write = store.write.bind(store);
  store.write = async (statements, ...args) => {
    // On PostgreSQL the INSERT and COMMIT are one round trip; to die between them, they are sent one by one.
    const oneByOne: StatementRunner = { query: (...given) => statements.query(...given) };
    const written = await write(
      killPoints.isArmed('after the row is inserted') ? oneByOne : statements,
      ...args,
    );
    pass('after the row is inserted');
    return written;
  };
  const { commitListener } = relay;
  const committed = commitListener.committed.bind(commitListener);
  commitListener.committed = (batch) => {
    pass('after COMMIT, before the hand-over');
    committed(batch);
  };
  const complete = store.complete.bind(store);
  const completeAndPromote = store.completeAndPromote.bind(store);
  const readAhead = new Set<string>();
  /** A batch is one statement; in two it can be interrupted between them. What is completed twice is completed once. */
  const completeSome = async (ids: readonly string[]): Promise<number> => {
    pass('after the confirmation, before it is written down');
    if (ids.length === 1) return 0;
    const count = await complete(ids.slice(0, Math.ceil(ids.length / 2)));
    pass('in the middle of a batch of completions');
    return count;
  };
  store.complete = async (ids) => {
    const count = (await completeSome(ids)) + (await complete(ids));
    pass('after the completion, before the successor is promoted');
    return count;
  };
  store.completeAndPromote = async (completions, claim, ahead) => {
    await completeSome(completions.map(({ id }) => id));
    const promoted = await completeAndPromote(completions, claim, ahead);
    if (promoted.further.length > 0) pass('in a run, when a part of it is written down');
    for (const { id } of [...promoted.ahead, ...promoted.further]) readAhead.add(id);
    pass('after the completion, before the successor is sent');
    return promoted;
  };
  for (const transport of transports.values()) {
    const send = transport.send.bind(transport);
    transport.send = (messages, settle) => {
      send(messages, (message, outcome) => {
        pass('when the confirmation has come, before it is taken');
        settle(message, outcome);
        if (readAhead.delete(message.id)) pass('in a run, after a confirmation, before it is written down');
      });
      passNextTurn('after the send, before the confirmation');
    };
  }
  const close = store.close.bind(store);
  store.close = () => {
    pass('in shutdown');
    return close();
  };
}

interface WithQuery {
  query: (...args: unknown[]) => unknown;
}

/** Marks the lines at which the drivers send COMMIT and the acknowledgement of a message. */
export function installDriverKillPoints({ pass, passNextTurn }: KillPoints): void {
  const drivers: { prototype: WithQuery }[] = [
    (load('pg') as { Client: { prototype: WithQuery } }).Client,
    (load('mysql2') as { Connection: { prototype: WithQuery } }).Connection,
  ];
  for (const { prototype } of drivers) {
    const query = prototype.query;
    prototype.query = function (this: WithQuery, ...args: unknown[]): unknown {
      if (!textsOf(args[0]).includes('COMMIT')) return query.apply(this, args);
      pass('before COMMIT is sent');
      const result = query.apply(this, args);
      passNextTurn('when COMMIT is sent, before its answer');
      return result;
    };
  }
  const { Channel } = load('amqplib/lib/channel_model') as {
    Channel: { prototype: { ack: (...args: unknown[]) => void } };
  };
  const ack = Channel.prototype.ack;
  Channel.prototype.ack = function (...args: unknown[]): void {
    pass("after a handler's commit, before the ack");
    ack.apply(this, args);
  };
}

/** Of a text, a query object, or several that are sent at once. */
function textsOf(query: unknown): (string | undefined)[] {
  if (typeof query === 'string') return [query];
  const { queries, text } = query as { queries?: { text?: string }[]; text?: string };
  return queries === undefined ? [text] : queries.map((one) => one.text);
}
