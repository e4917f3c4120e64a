import { describeError } from '../../core/errors';
import type { ApplicationSettings } from './application-settings';
import type { ConsumerResult, DeliveredMessage } from './delivery';
import type { Subscription } from './subscriptions';

/** Reads a payload as golevelup does. @returns it, or the verdict on a message that cannot be read. */
export function readPayload(
  settings: ApplicationSettings,
  { name, config }: Subscription,
  raw: DeliveredMessage,
): { readonly payload: unknown } | ConsumerResult {
  const deserializer = (config.deserializer ?? settings.deserializer) as (
    content: Buffer,
    raw: DeliveredMessage,
  ) => unknown;
  try {
    return { payload: deserializer(raw.content, raw) };
  } catch (error) {
    if (config.allowNonJsonMessages) return { payload: raw.content.toString() };
    // The same bytes will be as unreadable next time.
    return { kind: 'failed', error: `${name} cannot read it: ${describeError(error)}`, retry: false };
  }
}
