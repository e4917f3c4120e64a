import { describeKeyOrder } from './outbox-store-order.contract';

describe.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const)(
  'The order of keys on MariaDB under %s',
  (isolation) => {
    describeKeyOrder('mysql', isolation);
  },
);
