import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Outbox } from 'nestjs-outbox';
import type { DataSource } from 'typeorm';

import { Random } from '../random';
import { MAIN_EXCHANGE, REFUSING_EXCHANGE, TABLE_PREFIX } from '../topology';
import type { Journal } from './journal';

/** How many keys there are in each class: order must hold for a hot one and for many. */
const KEY_CLASSES = { hot: 1, warm: 10, cold: 10_000 } as const;
const ISOLATIONS = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const;
const CHANGED_ITS_MIND = 'the customer has changed his mind';

interface Planned {
  readonly id: string;
  readonly key: string | null;
  readonly exchange: string;
  readonly delayMs: number;
  readonly hopeless: boolean;
}

export interface TrafficTerms {
  readonly seed: number;
  /** Each writer waits up to so long between two transactions. */
  readonly pauseMaxMs: number;
  /** Transactions at a time. */
  readonly writers: number;
}

/**
 * Business transactions of all kinds, each with one row a message in a table of its own: what the checker compares the
 * messages with.
 *
 * Two kinds of keys, for two ways to know the order of commits. Of a `strict` key each transaction counts up a row, so its
 * order is written beside the business row; but that row's lock keeps such transactions apart before the outbox has to. Of
 * a `free` key nothing keeps them apart but the outbox, and the order is known where one commit had ended before the
 * other began.
 */
export class Traffic {
  private stopping = false;
  private running: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly outbox: Outbox,
    private readonly dataSource: DataSource,
    private readonly journal: Journal,
  ) {}

  start({ seed, pauseMaxMs, writers }: TrafficTerms): void {
    this.stopping = false;
    const write = async (writer: number): Promise<void> => {
      const random = new Random(seed + writer * 7_919);
      while (!this.stopping) {
        await this.transact(random);
        await delay(random.integer(0, pauseMaxMs));
      }
    };
    this.running = Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
  }

  /** Resolves when the last transaction has ended. */
  async halt(): Promise<void> {
    this.stopping = true;
    await this.running;
  }

  private async transact(random: Random): Promise<void> {
    const transaction = randomUUID();
    const isolation = random.chance(0.4) ? random.pick(ISOLATIONS) : undefined;
    // A counted row makes stricter transactions fail all the time, instead of one after the other.
    const strict = isolation === undefined || isolation === 'READ COMMITTED' ? random.chance(0.4) : false;
    const kept = this.plan(random, strict);
    const undone = random.chance(0.1) ? this.plan(random, strict) : [];
    const rollback = random.chance(0.1);
    const work = async (): Promise<void> => {
      await this.place(kept);
      if (undone.length > 0) {
        const nested = this.outbox.transaction(() => this.place(undone, CHANGED_ITS_MIND), {
          propagation: 'nested',
        });
        await nested.catch((error: Error) => {
          if (error.message !== CHANGED_ITS_MIND) throw error;
        });
      }
      if (rollback) throw new Error(CHANGED_ITS_MIND);
      this.journal.write({ did: 'committing', transaction, ids: kept.map(({ id }) => id) });
    };
    try {
      await this.outbox.transaction(work, isolation === undefined ? {} : { isolation });
      this.journal.write({ did: 'committed', transaction });
    } catch (error) {
      const { message } = error as Error;
      if (message === CHANGED_ITS_MIND) this.journal.write({ did: 'rolled back', transaction });
      else this.journal.write({ did: 'failed', transaction, error: message.slice(0, 200) });
    }
  }

  private plan(random: Random, strict: boolean): Planned[] {
    const count = random.chance(0.3) ? random.integer(2, 5) : 1;
    const planned = Array.from({ length: count }, (): Planned => {
      const key = keyOf(random, strict);
      return {
        id: randomUUID(),
        key,
        exchange: random.chance(0.03) ? REFUSING_EXCHANGE : MAIN_EXCHANGE,
        delayMs: key === null && random.chance(0.05) ? random.integer(1, 1_000) : 0,
        hopeless: random.chance(0.002),
      };
    });
    // Counted rows are locked in one order by all, or the writers would deadlock.
    return planned.sort((a, b) => (a.key ?? '').localeCompare(b.key ?? ''));
  }

  private async place(planned: readonly Planned[], failure?: string): Promise<void> {
    const { manager } = this.dataSource;
    for (const { id, key, exchange, hopeless } of planned) {
      const place = key?.startsWith('strict') ? await this.count(`${exchange} ${key}`) : null;
      await manager.query(
        `INSERT INTO ${TABLE_PREFIX}business (message_id, exchange, message_key, place, hopeless)
         VALUES ('${id}', '${exchange}', ${key === null ? 'NULL' : `'${key}'`}, ${place ?? 'NULL'}, ${hopeless ? 1 : 0})`,
      );
    }
    const messages = planned.map(({ id, key, exchange, delayMs, hopeless }) => ({
      type: 'crash.happened',
      payload: { id, key, hopeless, filler: 'x'.repeat(200) },
      id,
      key,
      delayMs,
      destination: exchange,
    }));
    await this.outbox.publishAll(messages);
    if (failure !== undefined) throw new Error(failure);
  }

  private async count(key: string): Promise<number> {
    const { manager } = this.dataSource;
    const table = `${TABLE_PREFIX}counter`;
    const sql =
      this.dataSource.options.type === 'postgres'
        ? `INSERT INTO ${table} (name, n) VALUES ('${key}', 1) ON CONFLICT (name) DO UPDATE SET n = ${table}.n + 1`
        : `INSERT INTO ${table} (name, n) VALUES ('${key}', 1) ON DUPLICATE KEY UPDATE n = n + 1`;
    await manager.query(sql);
    const [row] = await manager.query<{ n: string }[]>(`SELECT n FROM ${table} WHERE name = '${key}'`);
    return Number(row!.n);
  }
}

function keyOf(random: Random, strict: boolean): string | null {
  if (random.chance(0.2)) return null;
  const name = random.pick(['hot', 'warm', 'warm', 'cold', 'cold'] as const);
  return `${strict ? 'strict' : 'free'} ${name} ${random.integer(1, KEY_CLASSES[name])}`;
}
