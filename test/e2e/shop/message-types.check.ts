/*
 * Compiled by `npm run typecheck`, never run: what the compiler makes of an application's declared message types. Each
 * `@ts-expect-error` is an error by itself when the line below it compiles.
 */
import { type Outbox, type PayloadOf, TransactionalEvent } from 'nestjs-outbox';

import type { OrderPlaced } from '../../../sample-app/messages';

declare const outbox: Outbox;
declare const placed: OrderPlaced;

export async function publishers(): Promise<void> {
  await outbox.publish('order.placed', placed);
  await outbox.publishAll([
    { type: 'order.placed', payload: placed, key: placed.orderId },
    { type: 'order.paid', payload: { orderId: '1' } },
  ]);
  // @ts-expect-error -- no such message type
  await outbox.publish('order.misspelt', placed);
  // @ts-expect-error -- another type's payload
  await outbox.publish('order.placed', { orderId: 1 });
  // @ts-expect-error -- another type's payload
  await outbox.publishAll([{ type: 'order.paid', payload: placed.items }]);
}

export class Publisher {
  @TransactionalEvent('order.placed', { key: (order: OrderPlaced) => order.orderId })
  async fitting(): Promise<OrderPlaced> {
    return placed;
  }

  @TransactionalEvent('order.paid', { payload: (order: { id: string }) => ({ orderId: order.id }) })
  async mapped(): Promise<{ id: string }> {
    return { id: '1' };
  }

  // @ts-expect-error -- what the method returns is not what the type says
  @TransactionalEvent('order.placed')
  async unfitting(): Promise<{ id: string }> {
    return { id: '1' };
  }

  // @ts-expect-error -- nor is what the payload function makes of it
  @TransactionalEvent('order.paid', { payload: (order: { id: string }) => ({ id: order.id }) })
  async mismapped(): Promise<{ id: string }> {
    return { id: '1' };
  }

  // @ts-expect-error -- no such message type
  @TransactionalEvent('order.misspelt')
  async misspelt(): Promise<OrderPlaced> {
    return placed;
  }
}

/** A handler takes its payload's type by the message's name. */
export function handler(event: PayloadOf<'order.placed'>): number {
  return event.totalCents;
}
