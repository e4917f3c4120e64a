import { Logger } from '@nestjs/common';
import { createHash } from 'node:crypto';
import type { QueryRunner } from 'typeorm';

import type { CancelTimer, Clock } from '../../../core/clock';
import { describeError } from '../../../core/errors';
import type { RelayDataSource } from '../../relay-data-source';
import type { TableNames } from '../../table-names';
import type { Notifications } from '../dialect.port';

/** What is needed of a pg client. */
interface NotifyingClient {
  on(event: 'notification' | 'end' | 'error', listener: () => void): void;
  removeListener(event: 'notification' | 'end' | 'error', listener: () => void): void;
}

const RETRY_MS = 100;
const RETRY_MS_MAX = 30_000;

/** `LISTEN`/`NOTIFY` on connections of the store's own: one is kept for as long as anybody listens. */
export class PostgresNotifications implements Notifications {
  private readonly subscriptions = new Set<Subscription>();
  private channel: Promise<string> | undefined;

  constructor(
    private readonly database: RelayDataSource,
    private readonly names: TableNames,
    private readonly clock: Clock,
  ) {}

  async notify(): Promise<void> {
    await this.database.query('SELECT pg_notify($1, $2)', [await this.channelName(), '']);
  }

  async listen(onNotify: () => void): Promise<() => Promise<void>> {
    const subscription = new Subscription(this.database, () => this.channelName(), this.clock, onNotify);
    this.subscriptions.add(subscription);
    await subscription.connect();
    return async () => {
      this.subscriptions.delete(subscription);
      await subscription.stop();
    };
  }

  async close(): Promise<void> {
    await Promise.all([...this.subscriptions].map((subscription) => subscription.stop()));
    this.subscriptions.clear();
  }

  /** One channel for each message table of the database: a digest, because a channel's name ends at 63 bytes. */
  private channelName(): Promise<string> {
    this.channel ??= this.resolveChannel().catch((error: unknown) => {
      this.channel = undefined;
      throw error;
    });
    return this.channel;
  }

  private async resolveChannel(): Promise<string> {
    const { schema, bareMessage } = this.names;
    const rows = (await this.database.query('SELECT coalesce($1, current_schema()) AS schema', [schema])) as {
      schema: string;
    }[];
    const digest = createHash('sha256')
      .update(JSON.stringify([rows[0]?.schema, bareMessage]))
      .digest('hex');
    return `outbox_${digest.slice(0, 24)}`;
  }
}

/**
 * One listener. When its connection is lost it connects again, with back-off, and then calls back once: whatever was
 * notified in between is lost, and the caller's look at the table makes up for it.
 */
class Subscription {
  private readonly logger = new Logger('OutboxNotifications');
  private stopped = false;
  private retryMs = RETRY_MS;
  private cancelRetry: CancelTimer | undefined;
  private connecting: Promise<void> | undefined;
  private disconnect: (() => Promise<void>) | undefined;

  constructor(
    private readonly database: RelayDataSource,
    private readonly channelName: () => Promise<string>,
    private readonly clock: Clock,
    private readonly onNotify: () => void,
  ) {}

  /** Resolves when it listens, or when the first try has failed and the next one is due later. */
  connect(): Promise<void> {
    this.connecting = this.tryToListen().catch((error: unknown) => {
      this.retryLater(describeError(error));
    });
    return this.connecting;
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancelRetry?.();
    await this.connecting;
    await this.disconnect?.();
  }

  private async tryToListen(): Promise<void> {
    const channel = await this.channelName();
    const runner = await this.database.connect();
    const client = (await runner.connect()) as NotifyingClient;
    let open = true;
    const detach = (): void => {
      open = false;
      this.disconnect = undefined;
      client.removeListener('notification', this.onNotify);
      client.removeListener('end', lost);
      client.removeListener('error', lost);
    };
    const lost = (): void => {
      if (!open) return;
      detach();
      void runner.release();
      this.retryLater('the connection was lost');
    };
    client.on('notification', this.onNotify);
    client.on('end', lost);
    client.on('error', lost);
    this.disconnect = async () => {
      detach();
      await unlisten(runner, channel);
    };
    try {
      await runner.query(`LISTEN "${channel}"`);
      this.retryMs = RETRY_MS;
    } catch (error) {
      if (open) {
        detach();
        await runner.release();
        throw error;
      }
    }
  }

  private retryLater(reason: string): void {
    if (this.stopped) return;
    this.logger.warn(
      `Not listening for other processes' messages: ${reason}. Trying again in ${this.retryMs} ms; polling goes on.`,
    );
    this.cancelRetry = this.clock.after(this.retryMs, () => {
      void this.connect().then(() => {
        if (this.disconnect !== undefined) this.onNotify();
      });
    });
    this.retryMs = Math.min(this.retryMs * 2, RETRY_MS_MAX);
  }
}

/** Gives the connection back fit for others. One that cannot answer is broken, and the pool finds that out by itself. */
async function unlisten(runner: QueryRunner, channel: string): Promise<void> {
  await runner.query(`UNLISTEN "${channel}"`).catch(() => undefined);
  await runner.release();
}
