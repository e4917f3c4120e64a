import { Inject } from '@nestjs/common';

import { OUTBOX_PART, outboxToken } from '../core/tokens';

/** Injects the `Outbox` of a named data source. That of the default one is injected by its class. */
export const InjectOutbox = (dataSource?: string): PropertyDecorator & ParameterDecorator =>
  Inject(outboxToken(OUTBOX_PART.outbox, dataSource));

/** Injects the `OutboxRelay` of a named data source. */
export const InjectOutboxRelay = (dataSource?: string): PropertyDecorator & ParameterDecorator =>
  Inject(outboxToken(OUTBOX_PART.relay, dataSource));

/** Injects the `DeadLetters` of a named data source. */
export const InjectDeadLetters = (dataSource?: string): PropertyDecorator & ParameterDecorator =>
  Inject(outboxToken(OUTBOX_PART.deadLetters, dataSource));

/** Injects the `OutboxEvents` of a named data source. */
export const InjectOutboxEvents = (dataSource?: string): PropertyDecorator & ParameterDecorator =>
  Inject(outboxToken(OUTBOX_PART.events, dataSource));
