import { describeKeyOrder } from './outbox-store-order.contract';

describe.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const)(
  'The order of keys on PostgreSQL under %s',
  (isolation) => {
    describeKeyOrder('postgres', isolation);
  },
);
