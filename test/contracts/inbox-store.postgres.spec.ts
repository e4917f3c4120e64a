import { describeInboxStore } from './inbox-store.contract';

describe.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as const)(
  'InboxStore on PostgreSQL under %s',
  (isolation) => {
    describeInboxStore('postgres', isolation);
  },
);
