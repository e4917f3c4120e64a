import type { MessageHeaders } from '../core/message';
import type { MessageTypeName, PayloadOf } from '../core/message-types';
import type { PayloadSchema } from '../core/transactional-event.port';
import type { TransactionHandle } from '../core/transactions.port';

/** How one message is published. */
export interface PublishOptions {
  /** Messages with the same key (per transport and exchange) are sent in commit order. At most 255 bytes of UTF-8. @default none */
  key?: string | null;
  /** A UUID of the caller's own, e.g. to publish at most once per command. @default a version 7 UUID */
  id?: string;
  /** Send so long after the commit at the earliest, in milliseconds. @default 0 */
  delayMs?: number;
  /** Not sent any more so long after the commit, in milliseconds: it becomes a dead letter then. @default never */
  expiresInMs?: number;
  /** Strings to go with it. Names that begin with `x-outbox-` are reserved. @default {} */
  headers?: MessageHeaders;
  /** Where to, in the transport's terms. RabbitMQ: `exchange` or `exchange/routing.key`. @default the transport's own */
  destination?: string;
  /** The transport's registered name. @default the first */
  transport?: string;
  /** Kept with the message and sent as a header. @default none */
  tenant?: string | null;
  /** A version of the payload's shape; sent as a header. @default none */
  schemaVersion?: number;
  /** A class-validator class; a payload that does not fit fails the transaction. @default none */
  schema?: PayloadSchema;
  /** The transaction, where it is not the ambient one: its EntityManager or QueryRunner. @default the ambient one */
  manager?: TransactionHandle;
}

/** One entry of `publishAll`. */
export type MessageToPublish<Type extends MessageTypeName = MessageTypeName> = Omit<
  PublishOptions,
  'manager'
> &
  {
    [Name in Type]: { type: Name; payload: PayloadOf<Name> };
  }[Type];
