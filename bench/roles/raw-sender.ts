import { payloadOf } from '../harness/names';
import { configOf, serve } from '../harness/serve';
import { monotonicMs } from '../harness/statistics';
import type { RoleConfig } from './config';
import { ConfirmedPublisher, type Properties } from './confirmed-publisher';

export interface RawSenderConfig extends RoleConfig {
  /** @default 'none' */
  readonly properties?: Properties;
}

/** The broker's own limit: nothing but amqplib, with so many messages in flight. */
serve(async () => {
  const { brokerUrl, properties } = configOf<RawSenderConfig>();
  const publisher = await ConfirmedPublisher.open(brokerUrl, properties);
  return {
    drain: ({ count, bytes, inFlight }: { count: number; bytes: number; inFlight: number }) =>
      new Promise<number>((resolve, reject) => {
        const beganAt = monotonicMs();
        let sent = 0;
        let confirmed = 0;
        const more = (): void => {
          while (sent < count && sent - confirmed < inFlight) {
            sent += 1;
            publisher.send(Buffer.from(JSON.stringify(payloadOf(sent, bytes))), settled);
          }
        };
        const settled = (error: Error | null): void => {
          if (error !== null) reject(error);
          confirmed += 1;
          if (confirmed === count) resolve(count / ((monotonicMs() - beganAt) / 1_000));
          else more();
        };
        more();
      }),
    stop: () => publisher.close(),
  };
});
